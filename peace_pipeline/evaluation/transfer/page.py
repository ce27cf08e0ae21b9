"""The page of the transfer report: first where PEACE does not win, then where it does."""

from __future__ import annotations

import plotly.graph_objects as go

from peace_pipeline.evaluation.embedder import PEACE
from peace_pipeline.evaluation.look import MUTED, PALETTE, styled
from peace_pipeline.evaluation.metrics import Estimate
from peace_pipeline.evaluation.page import Cell, Figure, Page, Section, Table
from peace_pipeline.evaluation.transfer.methods import (
    EXPLAINED,
    HINDSIGHT,
    HYBRID,
    OWN_SHAPES,
    RANDOM,
    RANDOM_LOGME,
    RAW_HYBRID,
    RECOMMENDED,
    SCRATCH,
    TITLES,
    TRIES,
    WORDED,
)
from peace_pipeline.evaluation.transfer.results import OURS, SURE, Results

_SHOWN = (PEACE, RECOMMENDED, HYBRID, "raw_responses", "own_accuracy", "logme", RANDOM, SCRATCH, HINDSIGHT)
"""What the figure shows: all would hide each other."""


def page(results: Results) -> Page:
    """The whole page."""
    sections = [_methods(results), _targets(results), _retrieved(results)]
    return Page(
        summary(results),
        _facts(results),
        sections,
        losses=losses(results),
        method=_method(results),
        caveats=_caveats(results),
    )


def losses(results: Results) -> list[str]:
    """A sentence on each method that gives better networks than PEACE, the best first, on those beside which PEACE is
    not surely ahead, and on how few targets it is surely better than chance."""
    leads = {name: results.lead(name) for name in results.rivals if name not in OURS}
    better = sorted((name for name in leads if leads[name].mean < 0), key=lambda name: leads[name].mean)
    unsure = [TITLES[name] for name, lead in leads.items() if lead.mean >= 0 and lead.low <= 0]
    lines = [
        f"{TITLES[name]} gives better networks than PEACE: a mean accuracy of "
        f"{results.estimate(name, 'area').mean:.3f} against {results.estimate(PEACE, 'area').mean:.3f} (difference "
        f"{_text(leads[name])}" + ("; the interval holds 0)." if leads[name].high >= 0 else ").")
        for name in better
    ]
    if unsure:
        lines.append(f"Ahead, but with an interval that holds 0, PEACE is of: {', '.join(unsure)}.")
    peers = (
        (HYBRID, RAW_HYBRID),
        (HYBRID, "bm25"),
        *((of, name) for of in (RECOMMENDED, WORDED) for name in (RANDOM_LOGME, "logme")),
    )
    lines += [
        f"{TITLES[of]} is not surely ahead of {TITLES[name]}: {_text(lead)}."
        for of, name in peers
        if (lead := results.lead(name, of=of)).low <= 0
    ]
    count = len(results.targets)
    lines += [
        f"That the networks of {TITLES[name]} reach the goal in fewer steps than random choice on most targets is not "
        f"shown: surely they do on {surely} of {count}."
        for name in OURS
        if 2 * (surely := results.won("steps", name)[0]) <= count
    ]
    return lines


def summary(results: Results) -> str:
    """What became of PEACE's choice beside a random one, whichever way it falls, and how far hindsight is."""
    area, steps = results.won("area"), results.won("steps")
    count, lead = len(results.targets), results.lead(RANDOM)
    worded, run = ((results.won("area", of)[0], results.won("steps", of)[0]) for of in (HYBRID, RECOMMENDED))
    standing = "ahead of" if lead.low > 0 else "behind" if lead.high < 0 else "not clearly apart from"
    return (
        f"Fine-tuned for {results.budget.steps[-1]} steps on tasks that the zoo lacks, the {results.k} networks that "
        f"PEACE retrieves by likeness to small ones are {standing} random choice (mean accuracy over the steps: "
        f"{_text(lead)}). Target by target "
        f"they are surely better on {area[0]} of {count} and worse on {area[1]}, at the goal in fewer steps on "
        f"{steps[0]} and in more on {steps[1]}. With the words of the description the lead is "
        f"{_text(results.lead(RANDOM, of=HYBRID))} (by the words alone {_text(results.lead(RANDOM, of='bm25'))}), "
        f"surely better on {worded[0]} and in fewer steps on {worded[1]}. Beside new networks of the same shapes PEACE "
        f"alone is {_text(results.lead(OWN_SHAPES))}, beside the best in hindsight {_text(results.lead(HINDSIGHT))}. "
        f"Where {TRIES} of the candidates are run on the target's training examples, which `peace recommend` does, the "
        f"lead over random choice is {_text(results.lead(RANDOM, of=RECOMMENDED))}, surely better on {run[0]} and in "
        f"fewer steps on {run[1]} of {count}; had all been run (LogME) "
        f"{_text(results.lead(RANDOM, of='logme'))}, as many by lot {_text(results.lead(RANDOM, of=RANDOM_LOGME))}."
    )


def _facts(results: Results) -> dict[str, str]:
    return {
        "target tasks": str(len(results.targets)),
        "candidates": f"{results.outcomes.candidates:,}",
        "fine-tunings": f"{results.fine_tuned:,}",
        "chosen a target": str(results.k),
        "steps each": str(results.budget.steps[-1]),
        "seeds": str(results.seeds),
        "encoder": results.encoder_version,
        "seed": str(results.seed),
    }


def _methods(results: Results) -> Section:
    header = [
        "Method",
        "Area",
        f"After {results.outcomes.early} steps",
        "At the end",
        "F1",
        f"Best of {results.k}",
        "Steps to goal",
        "ms to goal",
        "PEACE ahead by",
        "p",
    ]
    p = results.p_values()
    order = sorted(TITLES, key=lambda name: -results.estimate(name, "area").mean)
    rows: list[list[str | Cell]] = [
        [
            TITLES[name],
            *(_cell(results.estimate(name, each)) for each in ("area", "early", "accuracy", "f1", "best")),
            _cell(results.estimate(name, "steps"), "{:.0f}"),
            f"{1000 * results.estimate(name, 'seconds').mean:.0f}",
            "–" if name == PEACE else _cell(results.lead(name), "{:+.3f}"),
            f"{p[name]:.3f}" if name in p else "–",
        ]
        for name in order
    ]
    return Section(
        "What the chosen networks give",
        [
            f"Each method chooses {results.k} networks for a target; figures are the mean over them, over "
            f"{len(results.targets)} targets and {results.seeds} seeds. Area is the mean accuracy over all steps. Best "
            f"of {results.k}: of the {results.k}, the accuracy of the one that ends best on validation examples. The "
            "goal is the accuracy at which training from scratch ends; who never gets there counts with all steps.",
            Table(header, rows, lead=TITLES[PEACE]),
            Figure(
                _curves(results),
                "Accuracy on test examples after so many steps of fine-tuning, in the mean over targets, seeds and the "
                "networks chosen.",
            ),
        ],
    )


def _curves(results: Results) -> go.Figure:
    figure = go.Figure()
    for color, name in zip(PALETTE, _SHOWN, strict=False):
        figure.add_scatter(
            x=results.budget.steps,
            y=results.outcomes.curve(results.chosen[name]),
            name=TITLES[name],
            line={
                "color": MUTED if name == HINDSIGHT else color,
                "width": 4 if name == PEACE else 1.8,
                "dash": "dot" if name in (HINDSIGHT, SCRATCH, RANDOM) else "solid",
            },
        )
    figure.update_xaxes(title="steps of fine-tuning")
    figure.update_yaxes(title="accuracy, mean over targets")
    figure = styled(figure, 480)
    figure.update_layout(legend={"y": -0.2, "yanchor": "top"})
    return figure


def _targets(results: Results) -> Section:
    return Section(
        "Target by target",
        [
            "Area, then steps to the goal: by how much the networks of a method do better than random choice, and p "
            "that it chooses as by lot, from random sets of candidates that are kept for all seeds, corrected for the "
            f"number of targets in each column (Benjamini and Hochberg); ✓ and ✗ stand where it is below {SURE}.",
            _by_target(results, "area", "{:.3f}", "{:+.3f}"),
            _by_target(results, "steps", "{:.0f}", "{:+.0f}"),
        ],
    )


def _by_target(results: Results, measure: str, level: str, lead: str) -> Table:
    of = (PEACE, HYBRID, RECOMMENDED)
    p = {name: results.by_lot(measure, name) for name in of}
    others = (SCRATCH, "logme", HINDSIGHT)
    header = ["Target", "Goal", "Random", *(TITLES[name] for name in (*of, *others))]

    def row(place: int) -> list[str | Cell]:
        means = {name: float(values[measure][place].mean()) for name, values in results.measures.items()}
        target = results.targets[place]
        return [
            Cell(target.name, f"{target.title}: {target.examples} examples"),
            f"{results.outcomes.goal[place]:.2f}",
            level.format(means[RANDOM]),
            *(_marked(results.on_target(place, measure, name), p[name][place], lead) for name in of),
            *(level.format(means[name]) for name in others),
        ]

    return Table(header, [row(place) for place in range(len(results.targets))])


def _retrieved(results: Results) -> Section:
    rows: list[list[str | Cell]] = [
        [target.name, *(results.names_of(name, place)[0] for name in (PEACE, RECOMMENDED, HINDSIGHT))]
        for place, target in enumerate(results.targets)
    ]
    return Section(
        "What was chosen first",
        [
            "Under the first seed.",
            Table(["Target", *(TITLES[name] for name in (PEACE, RECOMMENDED, HINDSIGHT))], rows),
        ],
    )


def _method(results: Results) -> list[str]:
    budget = results.budget
    return [
        "Target tasks are none of a zoo's, and those on data of a zoo's task are made of its test examples alone, "
        "those that no other task of a zoo trains on, so that no candidate has seen any of them: mirrored, inverted "
        "and noisy inputs, parts of the classes, few examples, other kinds of signals, images and tables, and a text "
        "(for networks that read numbers, as how often a word has each letter). Candidates are "
        f"{results.outcomes.candidates:,} networks of the trained zoo's held-out training runs, early checkpoints and "
        "networks trained on shuffled labels among them.",
        f"Every candidate is fine-tuned on every target: {budget.steps[-1]} batches of {budget.batch} with AdamW "
        f"(rate {budget.rate:g}, decay {budget.decay:g}, warm-up and cosine), all weights, with a new head; within a "
        "seed all see the same batches. So what a choice gives is looked up, hindsight is exact, and time is that of "
        "a network among others of its shape. Only hindsight looks at a target's test examples.",
        f"The {results.queries:,} queries are small networks, one of each shape of the candidates, trained for "
        f"{results.query_steps} steps on the target's training examples; a candidate's likeness is that to the query "
        "of its own shape. Both were settled on six other tasks, four of them on the same data, and candidates of "
        "validation runs.",
        "Intervals are 95% bootstrap intervals: targets are resampled, and within each its seeds. p is of Wilcoxon's "
        "signed-rank test over targets, corrected for the number of methods (Benjamini and Hochberg).",
        *(f"{TITLES[name]}: {text}" for name, text in EXPLAINED.items()),
    ]


def _caveats(results: Results) -> list[str]:
    return [
        f"Networks are small and budgets short: {results.budget.steps[-1]} steps. What holds for them need not hold "
        "for large ones.",
        f"Likeness is not free: a query of each shape is trained for {results.query_steps} steps, more than the "
        f"fine-tuning that it is to save, and then looked up in an index. The queries themselves end at an accuracy of "
        f"{results.query_accuracy:.3f} on test examples. LogME and LEEP push the training examples through every "
        f"candidate once: cheap for a small zoo, and growing with it; {TITLES[RECOMMENDED]} does so with {TRIES}, "
        "however many there are. Queries trained more briefly are not measured.",
        f"How {TITLES[RECOMMENDED]} explores, and that it ranks by the last hidden layer alone, was settled on twelve "
        "other targets (other views, parts and kinds of data) and candidates of training and validation runs, as was "
        f"that {results.k} networks are chosen a target. But that LogME does well on these targets was known from "
        "earlier reports, and what other numbers of networks would give on them was seen at the same time: of few "
        "networks some may be lucky, so that fewer targets are sure.",
        f"The {len(results.targets)} targets are on fewer kinds of data, and a seed draws one new head for all "
        "targets: intervals and tests take targets, and seeds within them, as independent.",
    ]


def _text(lead: Estimate) -> str:
    return f"{lead.mean:+.3f} [{lead.low:+.3f}, {lead.high:+.3f}]"


def _cell(estimate: Estimate, pattern: str = "{:.3f}") -> Cell:
    low, high = (pattern.format(end) for end in (estimate.low, estimate.high))
    return Cell(pattern.format(estimate.mean), f"{low} – {high}")


def _marked(lead: float, p: float, pattern: str) -> Cell:
    return Cell(pattern.format(lead), f"p {p:.3f}", lead > 0 if p < SURE else None)

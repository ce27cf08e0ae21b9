"""The page of the transfer report: first where PEACE does not win, then where it does."""

from __future__ import annotations

import plotly.graph_objects as go

from peace_pipeline.evaluation.embedder import PEACE
from peace_pipeline.evaluation.look import MUTED, PALETTE, styled
from peace_pipeline.evaluation.metrics import Estimate
from peace_pipeline.evaluation.page import Cell, Figure, Page, Section, Table
from peace_pipeline.evaluation.transfer.methods import EXPLAINED, HINDSIGHT, RANDOM, SCRATCH, TITLES
from peace_pipeline.evaluation.transfer.outcomes import EARLY
from peace_pipeline.evaluation.transfer.results import Results

_SHOWN = (PEACE, "raw_responses", "own_accuracy", "logme", "leep", RANDOM, SCRATCH, HINDSIGHT)
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
    """A sentence for each method whose networks do better than PEACE's, the best first, and whether that is sure; and
    beside which methods PEACE's do better, but not surely."""
    leads = {name: results.lead(name) for name in results.rivals}
    better = sorted((name for name in leads if leads[name].mean < 0), key=lambda name: leads[name].mean)
    unsure = [TITLES[name] for name, lead in leads.items() if lead.mean >= 0 and lead.low <= 0]
    lines = [
        f"{TITLES[name]} chooses better networks: a mean accuracy of {results.estimate(name, 'area').mean:.3f}, PEACE "
        f"{results.estimate(PEACE, 'area').mean:.3f} (difference {_text(leads[name])}"
        + ("; the interval holds 0)." if leads[name].high >= 0 else ").")
        for name in better
    ]
    if unsure:
        lines.append(f"Ahead, but with an interval that holds 0, PEACE is of: {', '.join(unsure)}.")
    return lines


def summary(results: Results) -> str:
    """What became of PEACE's choice beside a random one, whichever way it falls, and how far hindsight is."""
    area, steps = results.won("area"), results.won("steps")
    count, lead = len(results.targets), results.lead(RANDOM)
    standing = "ahead of" if lead.low > 0 else "behind" if lead.high < 0 else "not clearly apart from"
    return (
        f"Fine-tuned for {results.budget.steps[-1]} steps on tasks that the zoo lacks, the {results.k} networks that "
        f"PEACE retrieves are {standing} random choice (mean accuracy over the steps: {_text(lead)}): better on "
        f"{area[0]} of {count} targets and worse on {area[1]}, at the goal in fewer steps on {steps[0]} and in more on "
        f"{steps[1]}, with intervals that leave out 0. Beside training from scratch it is "
        f"{_text(results.lead(SCRATCH))}, beside the best in hindsight {_text(results.lead(HINDSIGHT))}."
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
        f"After {EARLY} steps",
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
    header = [
        "Target", "Goal", "PEACE", "Random", "Ahead by", "PEACE's steps", "Random's steps", "Fewer by",
        "Scratch", "LogME", "Hindsight",
    ]  # fmt: skip
    rows: list[list[str | Cell]] = []
    for place, target in enumerate(results.targets):

        def mean(method: str, measure: str = "area", place: int = place) -> float:
            return float(results.measures[method][measure][place].mean())

        rows.append([
            Cell(target.name, f"{target.title}: {target.examples} examples"),
            f"{results.outcomes.goal[place]:.2f}",
            f"{mean(PEACE):.3f}",
            f"{mean(RANDOM):.3f}",
            _marked(results.on_target(place), "{:+.3f}"),
            f"{mean(PEACE, 'steps'):.0f}",
            f"{mean(RANDOM, 'steps'):.0f}",
            _marked(results.on_target(place, "steps"), "{:+.0f}"),
            *(f"{mean(name):.3f}" for name in (SCRATCH, "logme", HINDSIGHT)),
        ])  # fmt: skip
    return Section(
        "Target by target",
        [
            "Area, and steps to the goal; intervals are over seeds and the networks chosen, and with so few of both "
            "they are rough. ✓ and ✗ stand where the interval leaves out 0.",
            Table(header, rows),
        ],
    )


def _retrieved(results: Results) -> Section:
    rows: list[list[str | Cell]] = [
        [target.name, *(results.names_of(name, place)[0] for name in (PEACE, "logme", HINDSIGHT))]
        for place, target in enumerate(results.targets)
    ]
    return Section(
        "What was chosen first",
        ["Under the first seed.", Table(["Target", "PEACE", "LogME", "Best in hindsight"], rows)],
    )


def _method(results: Results) -> list[str]:
    budget = results.budget
    return [
        "Target tasks are none of a zoo's, and those on data of a zoo's task are made of its test examples alone, so "
        "that no candidate has seen any of them: mirrored, inverted and noisy inputs, parts of the classes, few "
        "examples, other kinds of signals, images and tables, and a text (for networks that read numbers, as how often "
        f"a word has each letter). Candidates are {results.outcomes.candidates:,} networks of the trained zoo's "
        "held-out training runs, early checkpoints and networks trained on shuffled labels among them.",
        f"Every candidate is fine-tuned on every target: {budget.steps[-1]} batches of {budget.batch} with AdamW "
        f"(rate {budget.rate:g}, decay {budget.decay:g}, warm-up and cosine), all weights, with a new head; within a "
        "seed all see the same batches. So what a choice gives is looked up, hindsight is exact, and time is that of "
        "a network among others of its shape. Only hindsight looks at a target's test examples.",
        f"The {results.queries:,} queries are small networks, one of each shape of the candidates, trained for "
        f"{results.query_steps} steps on the target's training examples; a candidate's likeness is that to the query "
        "of its own shape. Both were settled on six other targets and candidates of validation runs.",
        "Intervals are 95% bootstrap intervals: targets are resampled, and within each its seeds. p is of Wilcoxon's "
        "signed-rank test over targets, corrected for the number of methods (Benjamini and Hochberg).",
        *(f"{TITLES[name]}: {text}" for name, text in EXPLAINED.items()),
    ]


def _caveats(results: Results) -> list[str]:
    return [
        f"Networks are small and budgets short: {results.budget.steps[-1]} steps. What holds for them need not hold "
        "for large ones.",
        "LogME and LEEP run every candidate on the target's data, which takes as long as the zoo is large; likeness "
        "to a query is looked up in an index. The shortlists stand between the two.",
        f"On one target there are {results.seeds} seeds and {results.k} networks: its interval is rough.",
    ]


def _text(lead: Estimate) -> str:
    return f"{lead.mean:+.3f} [{lead.low:+.3f}, {lead.high:+.3f}]"


def _cell(estimate: Estimate, pattern: str = "{:.3f}") -> Cell:
    low, high = (pattern.format(end) for end in (estimate.low, estimate.high))
    return Cell(pattern.format(estimate.mean), f"{low} – {high}")


def _marked(lead: Estimate, pattern: str) -> Cell:
    passed = True if lead.low > 0 else False if lead.high < 0 else None
    return Cell(_cell(lead, pattern).text, _cell(lead, pattern).note, passed)

"""The page of the retrieval report: what the figures say, in words, tables and plots."""

from __future__ import annotations

from peace_pipeline.evaluation.baselines.registry import all_baselines
from peace_pipeline.evaluation.embedder import OWN, PEACE
from peace_pipeline.evaluation.metrics import CUTOFFS, Estimate
from peace_pipeline.evaluation.page import Cell, Figure, Page, Section, Table
from peace_pipeline.evaluation.retrieval import plots
from peace_pipeline.evaluation.retrieval.results import ALL, Grade, Results

_CARDS = (
    "BM25 reads cards, not networks, and a card that names the task answers the question: it stands beside the others, "
    "not among them."
)


def page(results: Results) -> Page:
    """The whole page."""
    sections = [_task_section(results)]
    if results.same_function.scopes:
        sections.append(_function_section(results))
    sections.append(_map_section(results))
    return Page(
        summary(results),
        _facts(results),
        sections,
        losses=losses(results),
        method=_method(results),
        caveats=[_CARDS] if len(results.same_task.methods()) > len(OWN) else [],
    )


def losses(results: Results) -> list[str]:
    """A sentence for each method that reads networks and finds the same task, or the same function, better than PEACE
    does, best first."""
    said = []
    graded = [
        (results.same_task, "networks of the same task", "map", "a MAP"),
        (results.same_function, "disguised networks", "recall_at_1", "a recall@1"),
    ]
    for grade, what, metric, name in graded:
        if grade.scopes:
            ours = grade.estimate(PEACE, metric)
            said += [
                f"{_title(method)} finds {what} better: {name} of {_text(found)}, PEACE {_text(ours)}."
                for method in grade.rivals(metric)
                if (found := grade.estimate(method, metric)).mean > ours.mean
            ]
    return said


def summary(results: Results) -> str:
    """Two sentences on what the figures say, whichever way they fall."""
    task = results.same_task
    best = task.best_rival()
    lead, ours = task.difference(PEACE, best), task.estimate(PEACE, "map")
    standing = "ahead of" if lead.low > 0 else "behind" if lead.high < 0 else "not clearly apart from"
    rival = task.estimate(best, "map")
    second = (
        f"Asked for networks of the same task from other training runs, PEACE reaches a MAP of {_text(ours)}, "
        f"{standing} the best method that reads no cards ({_title(best)}: {_text(rival)}; difference "
        f"{lead.mean:+.3f} [{lead.low:+.3f}, {lead.high:+.3f}])."
    )
    return f"{_function_sentence(results.same_function)} {second}"


def _function_sentence(function: Grade) -> str:
    if not function.scopes:
        return "No test network has known symmetries, so none was disguised."
    found = function.estimate(PEACE, "recall_at_1").mean
    count = len(function.scopes[ALL][PEACE].queries)
    share = "all" if found == 1 else f"{found:.1%} of"
    return f"Permuted at random and rescaled by up to 10^±2, {share} {count} test networks find their original first."


def _facts(results: Results) -> dict[str, str]:
    population = results.population
    return {
        "networks in the lake": f"{population['networks']:,.0f}",
        "skipped": f"{population['skipped']:,.0f}",
        "test networks with a task": f"{population['test_networks']:,.0f}",
        "of them run": f"{population['test_networks_run']:,.0f}",
        "drawn as queries": f"{population['test_queries']:,.0f}",
        "test runs": f"{population['test_runs']:,.0f}",
        "tasks": f"{population['test_tasks']:,.0f}",
        "embedded a second": f"{population['networks_per_second']:,.0f}",
        "encoder": results.encoder_version,
        "seed": str(results.seed),
    }


def _task_section(results: Results) -> Section:
    grade = results.same_task
    scored = grade.scopes[ALL][PEACE]
    metrics = ["map", *(f"precision_at_{k}" for k in CUTOFFS), *(f"recall_at_{k}" for k in CUTOFFS)]
    header = ["Method", "MAP", *(f"P@{k}" for k in CUTOFFS), *(f"R@{k}" for k in CUTOFFS)]
    rows: list[list[str | Cell]] = [
        [_title(method), *(_cell(grade.estimate(method, metric)) for metric in metrics)]
        for method in grade.methods()
    ]
    return Section(
        "Same task, another training run",
        [
            f"{len(scored.queries)} queries; {scored.left_out} networks ask nothing, because they were trained on "
            "shuffled labels or because no other run has their task. A query's own run is no part of its gallery.",
            Figure(
                plots.map_bars(grade, _title),
                "MAP of every method with its 95% interval, coloured by what it reads.",
            ),
            Table(header, rows, lead=_title(PEACE)),
            Figure(
                plots.at_k(grade, _title),
                "Precision and recall among the nearest 1, 5 and 10, a line a method.",
            ),
            Figure(
                plots.by_architecture(grade, _title),
                "MAP within one architecture, queries and gallery both, a bar a method.",
            ),
        ],
    )


def _function_section(results: Results) -> Section:
    grade = results.same_function
    scopes = list(grade.scopes)
    names = ["All", *(scope.removeprefix("wiring_") for scope in scopes[1:])]
    rows: list[list[str | Cell]] = [
        [_title(method), *(_cell(grade.estimate(method, "recall_at_1", scope)) for scope in scopes)]
        for method in grade.methods()
    ]
    left_out = results.population["test_independent"]
    apart = (
        f" {left_out:.0f} networks have no known symmetries: they are in the gallery only."
        if left_out
        else ""
    )
    return Section(
        "Same function, in disguise",
        [
            "Each test network is permuted at random and rescaled by up to 10^±2, and looks for its original among "
            f"all {len(results.members)} test networks, by weights alone: a copy answers what its original answers. "
            f"Recall@1, by architecture and by how PEACE found the symmetries.{apart} How little embeddings move under "
            "every symmetry is in the report `symmetry`.",
            Table(["Method", *names], rows, lead=_title(PEACE)),
        ],
    )


def _map_section(results: Results) -> Section:
    return Section(
        "The test networks on a map",
        [
            Figure(
                plots.embedding_map(results.members, results.vectors),
                "The first two principal components of the embeddings: colour is the task, shape the architecture, "
                "hollow marks are networks trained on shuffled labels.",
            ),
        ],
    )


def _method(results: Results) -> list[str]:
    most = results.most
    return [
        "Splits are by training run: 60% train, 15% validate, 25% test. Intervals are 95% bootstrap intervals "
        "over queries, ties are broken at random, and whatever a method can't compare ranks last. Baselines that "
        "learn (LDA, standardisation) learn from the training split, as the encoder does. Unless said otherwise "
        "they read weights as they were trained, with BatchNorm folded in. PEACE embeds networks as the index "
        "does: with their responses where they were run.",
        f"Of a larger zoo a sample is measured, drawn at random with the seed {results.seed}: a gallery of at most "
        f"{most.gallery:,} test networks, of which at most {most.queries:,} ask, and {most.training:,} training "
        "networks for the baselines. So the memory that this takes does not grow with the zoo.",
        *(
            f"{_title(name)}: {_first_paragraph(name)}"
            for name in results.same_task.methods()
            if name not in OWN
        ),
    ]


def _first_paragraph(method: str) -> str:
    text = all_baselines()[method].similarity.__doc__ or ""
    return " ".join(text.split("\n\n")[0].replace("``", "").split())


def _title(method: str) -> str:
    return OWN[method] if method in OWN else all_baselines()[method].title


def _text(estimate: Estimate) -> str:
    return f"{estimate.mean:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


def _cell(estimate: Estimate) -> Cell:
    return Cell(f"{estimate.mean:.3f}", f"{estimate.low:.2f}–{estimate.high:.2f}")

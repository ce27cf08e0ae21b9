"""The tables of the retrieval report, and how its figures are written."""

from __future__ import annotations

from peace_pipeline.evaluation.baselines.registry import Knows
from peace_pipeline.evaluation.embedder import OWN, PEACE
from peace_pipeline.evaluation.metrics import CUTOFFS, NDCG, Estimate
from peace_pipeline.evaluation.page import Cell, Table
from peace_pipeline.evaluation.retrieval import descriptions
from peace_pipeline.evaluation.retrieval.results import ALL, HYBRIDS, Grade, knows, title

METRICS = {
    "MAP": "map",
    **{f"P@{k}": f"precision_at_{k}" for k in CUTOFFS},
    **{f"R@{k}": f"recall_at_{k}" for k in CUTOFFS},
    "nDCG": NDCG,
}


def chosen(grade: Grade, function: Grade | None = None) -> list[str]:
    """PEACE's methods, the best that reads weights (and the best at the same ``function``), responses, cards and both
    cards and networks, and chance."""
    methods = grade.methods()
    kinds = [
        [name for name in methods if knows(name) == Knows.WEIGHTS and name != "chance"],
        [name for name in methods if knows(name) == Knows.RESPONSES],
        [name for name in methods if knows(name) == Knows.CARDS and name not in HYBRIDS],
        [name for name in methods if name in HYBRIDS],
    ]
    best = [kind[0] for kind in kinds if kind]
    if function and function.scopes:
        best.insert(1, function.best_rival("recall_at_1"))
    return list(dict.fromkeys([*(name for name in OWN if name in methods), *best, "chance"]))


def metrics_table(grade: Grade, scope: str = ALL, folded: str = "") -> Table:
    """Every metric of every method."""
    rows: list[list[str | Cell]] = [
        [title(method), *(cell(grade.estimate(method, metric, scope)) for metric in METRICS.values())]
        for method in grade.methods(scope)
    ]
    count = len(grade.scopes[scope][PEACE].queries)
    folded = folded and f"{folded}: {count} queries"
    return Table(["Method", *METRICS], rows, lead=title(PEACE), folded=folded)


def lead_table(grade: Grade) -> Table:
    """PEACE's lead over every other method, by two intervals and a test."""
    p_values = grade.p_values()
    rows: list[list[str | Cell]] = [
        [
            title(method),
            span(grade.over_runs(method, "map")),
            f"{(lead := grade.difference(PEACE, method)).mean:+.3f}",
            span(lead, signed=True),
            span(grade.difference_over_runs(PEACE, method), signed=True),
            f"{p:.3f}" if p >= 0.001 else "< 0.001",
        ]
        for method, p in p_values.items()
    ]
    ours: list[str | Cell] = [title(PEACE), span(grade.over_runs(PEACE, "map")), "–", "–", "–", "–"]
    return Table(
        ["Method", "MAP, over runs", "PEACE's lead", "over queries", "over runs", "p"],
        [ours, *rows],
        lead=title(PEACE),
        folded="PEACE's lead over each method: 95% intervals over queries and over training runs, and a test",
    )


def description_tables(grade: Grade) -> list[Table]:
    """MAP of queries in words, by what they describe; and, folded, every metric."""
    kinds = [scope for scope in grade.scopes if scope != ALL]
    first: list[list[str | Cell]] = [
        [name, *(cell(grade.estimate(method, "map", scope)) for scope in (ALL, *kinds))]
        for method, name in descriptions.TITLES.items()
    ]
    tables = [Table(["Method", "All", *(descriptions.KINDS[kind] for kind in kinds)], first)]
    for scope in grade.scopes:
        rows: list[list[str | Cell]] = [
            [name, *(cell(grade.estimate(method, metric, scope)) for metric in METRICS.values())]
            for method, name in descriptions.TITLES.items()
        ]
        count = len(grade.scopes[scope][descriptions.TEXT].queries)
        what = "all descriptions" if scope == ALL else descriptions.KINDS[scope]
        tables.append(Table(["Method", *METRICS], rows, folded=f"Every metric, {what}: {count} queries"))
    return tables


def text(estimate: Estimate) -> str:
    return f"{estimate.mean:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


def signed_text(estimate: Estimate) -> str:
    return f"{estimate.mean:+.3f} [{estimate.low:+.3f}, {estimate.high:+.3f}]"


def span(estimate: Estimate, signed: bool = False) -> str:
    sign = "+" if signed else ""
    return f"{estimate.low:{sign}.3f} to {estimate.high:{sign}.3f}"


def cell(estimate: Estimate) -> Cell:
    return Cell(f"{estimate.mean:.3f}", f"{estimate.low:.2f}–{estimate.high:.2f}")

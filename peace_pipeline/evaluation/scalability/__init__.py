"""The report on scalability: what embedding, the index and searches cost by the size of networks and lakes."""

from typing import Any

from peace_pipeline.evaluation.reports import Content, report
from peace_pipeline.lake import Lake


@report(
    "scalability", title="Scalability: what networks, lakes and searches cost", depends_on=("lancedb_index",)
)
def scalability(lake: Lake, *, quick: bool = False, **settings: Any) -> Content:
    """Time and memory of embedding by the size of a network and their number, time, size and recall of the index by its
    rows, and what two million models would take.

    ``settings`` are those of :func:`peace_pipeline.evaluation.scalability.study.measure_costs`.
    """
    from peace_pipeline.evaluation.scalability.page import page
    from peace_pipeline.evaluation.scalability.study import QUICK, measure_costs

    results = measure_costs(lake, **(QUICK if quick else {}) | settings)
    return Content(page(results), results.figures(), results.headline())

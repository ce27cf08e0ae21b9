"""The symmetry report: every action on every family, and on the lake's own networks, through the current encoder."""

from typing import Any

from peace_pipeline.evaluation.reports import Content, report
from peace_pipeline.lake import Lake

_HEADLINE = ("missed", "largest_float64", "largest_float32", "families/blind", "families/restless")


@report("symmetry", title="Symmetries of every family", depends_on=("lancedb_index",))
def symmetry(lake: Lake, *, quick: bool = False, **settings: Any) -> Content:
    """How still embeddings stay under every action on every family, and how far broken twins move them.

    ``settings`` are those of :func:`peace_pipeline.evaluation.symmetry.study.measure_all`.
    """
    from peace_pipeline.evaluation.symmetry.page import page
    from peace_pipeline.evaluation.symmetry.study import QUICK, measure_all

    results = measure_all(lake, **(QUICK if quick else {}) | settings)
    figures = results.figures()
    headline = {name: figures[name] for name in _HEADLINE}
    return Content(page(results), figures, headline, missed=results.missed())

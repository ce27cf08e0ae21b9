"""The retrieval report: PEACE and every baseline on held-out training runs, in one run."""

from typing import Any

from peace_pipeline.evaluation.reports import Content, report
from peace_pipeline.lake import Lake


@report(
    "retrieval",
    title="Retrieval on held-out training runs",
    depends_on=("lancedb_index", "contrastive_pairs"),
    after_training=True,
)
def retrieval(lake: Lake, *, quick: bool = False, **settings: Any) -> Content:
    """Same-function and same-task retrieval on held-out training runs, beside every baseline, on one page.

    ``settings`` are those of :func:`peace_pipeline.evaluation.retrieval.study.score_methods`.
    """
    from peace_pipeline.evaluation.retrieval.page import page
    from peace_pipeline.evaluation.retrieval.results import HEADLINE
    from peace_pipeline.evaluation.retrieval.study import QUICK, score_methods

    results = score_methods(lake, **(QUICK if quick else {}) | settings)
    figures = results.figures()
    return Content(page(results), figures, {name: figures[name] for name in HEADLINE if name in figures})

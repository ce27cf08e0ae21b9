"""The provenance report: verdicts on pairs of networks whose relation is known, and the thresholds that they give."""

from typing import Any

from peace_pipeline.evaluation.reports import Content, report
from peace_pipeline.lake import Lake


@report(
    "provenance",
    title="Provenance: what two networks have to do with each other",
    depends_on=("layer_tensors",),
)
def provenance(lake: Lake, *, quick: bool = False, **settings: Any) -> Content:
    """Verdicts on pairs of networks whose relation is known: error rates on held-out runs, and the thresholds that
    `peace compare` then uses.

    ``settings`` are those of :func:`peace_pipeline.evaluation.provenance.study.judge_pairs`.
    """
    import json

    from peace_pipeline.comparison.thresholds import THRESHOLDS
    from peace_pipeline.evaluation.provenance.page import page
    from peace_pipeline.evaluation.provenance.study import QUICK, judge_pairs

    results = judge_pairs(lake, **(QUICK if quick else {}) | settings)
    thresholds = json.dumps(vars(results.thresholds)) + "\n"
    figures = results.figures()
    headline = {
        name: figures[name] for name in ("error", "plain_cosine/error", "plain_cosine/error_disguised")
    }
    return Content(page(results), figures, headline, {THRESHOLDS: thresholds})

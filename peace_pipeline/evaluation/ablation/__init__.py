"""The report on the parts of the encoder and of its training: each left out, or put otherwise, once."""

from typing import Any

from peace_pipeline.evaluation.reports import Content, report
from peace_pipeline.lake import Lake


@report(
    "ablation", title="Ablation: what each part is worth", depends_on=("contrastive_pairs", "lancedb_index")
)
def ablation(lake: Lake, *, quick: bool = False, **settings: Any) -> Content:
    """What the encoder loses where a part of it or of its training is left out, at the same number of epochs, over
    seeds: retrieval on held-out runs, how far broken twins and noise move it.

    ``settings`` are those of :func:`peace_pipeline.evaluation.ablation.study.leave_out`.
    """
    from peace_pipeline.evaluation.ablation.page import page
    from peace_pipeline.evaluation.ablation.study import QUICK, leave_out

    results = leave_out(lake, **(QUICK if quick else {}) | settings)
    return Content(page(results), results.figures(), results.headline())

"""The transfer report: whether retrieval finds the networks that are worth fine-tuning."""

from typing import Any

from peace_pipeline.evaluation.reports import Content, report
from peace_pipeline.lake import Lake


@report(
    "transfer",
    title="Transfer: which networks are worth fine-tuning",
    depends_on=("lancedb_index",),
)
def transfer(lake: Lake, *, quick: bool = False, **settings: Any) -> Content:
    """Fine-tuning the networks that PEACE and other methods choose for tasks that the zoo lacks, with equal budget.

    ``settings`` are those of :func:`peace_pipeline.evaluation.transfer.study.fine_tune_all`.
    """
    from peace_pipeline.evaluation.transfer.page import page
    from peace_pipeline.evaluation.transfer.study import QUICK, fine_tune_all

    results = fine_tune_all(lake, **(QUICK if quick else {}) | settings)
    return Content(page(results), results.figures(), results.headline())

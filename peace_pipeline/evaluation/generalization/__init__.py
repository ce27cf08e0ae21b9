"""The report on what an encoder knows of architectures, tasks and sizes that it was not trained on."""

from typing import Any

from peace_pipeline.evaluation.reports import Content, report
from peace_pipeline.lake import Lake


@report(
    "generalization",
    title="Generalization: architectures, tasks and sizes left out",
    depends_on=("contrastive_pairs", "lancedb_index"),
)
def generalization(lake: Lake, *, quick: bool = False, **settings: Any) -> Content:
    """How well networks of an architecture, a task, a width or a depth that was left out of training find others of
    their task, by each sense, beside an encoder that was trained on all, and beside raw responses; and what is found of
    networks without a task.

    ``settings`` are those of :func:`peace_pipeline.evaluation.generalization.study.leave_one_out`.
    """
    from peace_pipeline.evaluation.generalization.page import page
    from peace_pipeline.evaluation.generalization.study import QUICK, leave_one_out

    results = leave_one_out(lake, **(QUICK if quick else {}) | settings)
    return Content(page(results), results.figures(), results.headline())

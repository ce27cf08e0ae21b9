"""The report on the embedding space: maps, clusters, distances under symmetries, and what linear probes read off it."""

from typing import Any

from peace_pipeline.evaluation.reports import Content, report
from peace_pipeline.lake import Lake


@report("space", title="The embedding space", depends_on=("lancedb_index",))
def space(lake: Lake, *, quick: bool = False, **settings: Any) -> Content:
    """Maps of the embeddings, how they cluster, how near symmetries leave them, and what linear probes read off them.

    ``settings`` are those of :func:`peace_pipeline.evaluation.space.study.measure_space`.
    """
    from peace_pipeline.evaluation.space.page import page
    from peace_pipeline.evaluation.space.study import QUICK, measure_space

    results = measure_space(lake, **(QUICK if quick else {}) | settings)
    return Content(page(results), results.figures(), results.headline())

"""The report on anomalies: backdoored networks, shuffled labels, copies exact and disguised."""

from typing import Any

from peace_pipeline.evaluation.reports import Content, report
from peace_pipeline.lake import Lake


@report("anomaly", title="Anomalies: backdoors, shuffled labels, copies", depends_on=("lancedb_index",))
def anomaly(lake: Lake, *, quick: bool = False, **settings: Any) -> Content:
    """How well backdoored networks, networks trained on shuffled labels and disguised copies are told from others.

    ``settings`` are those of :func:`peace_pipeline.evaluation.anomaly.study.detect_anomalies`.
    """
    from peace_pipeline.evaluation.anomaly.page import page
    from peace_pipeline.evaluation.anomaly.study import QUICK, detect_anomalies

    results = detect_anomalies(lake, **(QUICK if quick else {}) | settings)
    return Content(page(results), results.figures(), results.headline())

"""Stage 5: evaluation reports."""

import dagster as dg

from peace_pipeline.assets.index import lancedb_index
from peace_pipeline.progress import track
from peace_pipeline.resources import LakeResource


@dg.asset(
    deps=[lancedb_index, "contrastive_pairs"], group_name="reports", kinds={"python", "plotly", "mlflow"}
)
def retrieval_report(lake: LakeResource) -> dg.MaterializeResult:
    """Same-function and same-task retrieval on held-out training runs, beside every baseline, on one page.

    Where no two held-out runs share a task there is no page, and the materialization says so.
    """
    from peace_pipeline.evaluation.retrieval.study import NothingToEvaluate
    from peace_pipeline.evaluation.retrieval.study import retrieval_report as evaluate

    try:
        report = evaluate(lake.open(), progress=track("Evaluating"))
    except NothingToEvaluate as reason:
        return dg.MaterializeResult(metadata={"not written": str(reason)})
    return dg.MaterializeResult(metadata={"page": dg.MetadataValue.path(str(report.path)), **report.figures})


@dg.asset(deps=["layer_tensors"], group_name="reports", kinds={"python", "plotly", "mlflow"})
def provenance_report(lake: LakeResource) -> dg.MaterializeResult:
    """Verdicts on pairs of networks whose relation is known: error rates on held-out runs, and the thresholds that
    `peace compare` then uses.

    Where the lake has no trained zoo there is no page, and the materialization says so.
    """
    from peace_pipeline.evaluation.provenance.study import NothingToCompare
    from peace_pipeline.evaluation.provenance.study import provenance_report as evaluate

    try:
        report = evaluate(lake.open(), progress=track("Comparing"))
    except NothingToCompare as reason:
        return dg.MaterializeResult(metadata={"not written": str(reason)})
    return dg.MaterializeResult(metadata={"page": dg.MetadataValue.path(str(report.path)), **report.figures})


@dg.asset(deps=[lancedb_index], group_name="reports", kinds={"python", "plotly", "mlflow"})
def symmetry_report(lake: LakeResource) -> dg.MaterializeResult:
    """How still embeddings stay under every action on every family, and how far broken twins move them."""
    from peace_pipeline.evaluation.symmetry.study import symmetry_report as evaluate

    report = evaluate(lake.open(), progress=track("Acting on every family"))
    headline = {name: value for name, value in report.figures.items() if name.count("/") < 2}
    return dg.MaterializeResult(metadata={"page": dg.MetadataValue.path(str(report.path)), **headline})

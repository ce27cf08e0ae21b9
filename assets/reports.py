"""Stage 5: evaluation reports. From each registration follow its asset and its job; its check is in ``checks``."""

import dagster as dg

from peace_pipeline.assets.interrupts import unretried
from peace_pipeline.assets.pages import figures, page_metadata, tracked
from peace_pipeline.assets.telling import telling
from peace_pipeline.encoder.store import NoEncoder
from peace_pipeline.evaluation.reports import EXPERIMENT, NothingToReport, Report, all_reports
from peace_pipeline.resources import LakeResource

NOT_WRITTEN = "not written"


def report_asset(report: Report) -> dg.AssetsDefinition:
    """Writes the report; where there is nothing to report on, the materialization says why."""

    @dg.asset(
        name=report.asset,
        deps=list(report.depends_on),
        group_name="reports",
        kinds=set(report.kinds),
        description=f"{report.description} Where there is nothing to report on, the materialization says why.",
    )
    def write(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult:
        home = lake.open()
        try:
            with unretried():
                written = report.write(home, progress=telling(context, f"Writing the report {report.name}"))
        except (NothingToReport, NoEncoder) as reason:
            return dg.MaterializeResult(metadata={NOT_WRITTEN: str(reason)})
        return dg.MaterializeResult(
            metadata={
                **page_metadata(written.path, home.reports),
                "mlflow": tracked(home, EXPERIMENT, written.run_id),
                **figures(written.headline),
            }
        )

    return write


REPORTS = list(all_reports().values())
assets = [report_asset(report) for report in REPORTS]
jobs = [
    dg.define_asset_job(
        report.name,
        [report.asset],
        description=f"Write the report {report.name}: {report.title}.",
    )
    for report in REPORTS
]
after_training_job = dg.define_asset_job(
    "reports",
    [report.asset for report in REPORTS if report.after_training],
    description="Write the reports that a new encoder changes.",
)

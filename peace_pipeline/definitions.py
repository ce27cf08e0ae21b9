"""The roof: assembles assets, checks, resources, schedule and sensor. The one module here that knows Dagster."""

from __future__ import annotations

from peace_pipeline.threads import share_the_machine

share_the_machine()  # before anything loads NumPy or torch

import dagster as dg

from peace_pipeline.assets import automation, collection, encoder, index, reports, weights, zoo
from peace_pipeline.assets.checks import all_checks
from peace_pipeline.assets.incremental import Pass, PassFailed, PassSummary
from peace_pipeline.resources import LakeResource, ZooResource

__all__ = ["Pass", "PassFailed", "PassSummary", "defs"]

defs = dg.Definitions(
    assets=[*dg.load_assets_from_modules([zoo, weights, encoder, index, collection]), *reports.assets],
    asset_checks=list(all_checks()),
    jobs=[
        automation.crawl_job,
        automation.batch_job,
        automation.train_job,
        automation.collection_job,
        reports.after_training_job,
        *reports.jobs,
    ],
    schedules=[automation.daily_crawl, automation.daily_collection],
    sensors=[automation.stale_batches],
    resources={"lake": LakeResource(), "zoo": ZooResource()},
    executor=dg.in_process_executor,
)

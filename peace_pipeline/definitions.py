"""The roof: assembles assets, checks, resources, schedule and sensor. The one module here that knows Dagster."""

from __future__ import annotations

from peace_pipeline.threads import share_the_machine

share_the_machine()  # before anything loads NumPy or torch

import dagster as dg

from peace_pipeline.assets import atlas, collection, encoder, index, reports, weights, zoo
from peace_pipeline.assets.checks import all_checks
from peace_pipeline.assets.incremental import Pass, PassFailed, PassSummary
from peace_pipeline.assets.jobs import all_jobs
from peace_pipeline.assets.schedules import daily_collection, daily_crawl
from peace_pipeline.assets.sensors import stale_batches
from peace_pipeline.resources import LakeResource, ZooResource

__all__ = ["Pass", "PassFailed", "PassSummary", "defs"]

defs = dg.Definitions(
    assets=[*dg.load_assets_from_modules([zoo, weights, encoder, index, atlas, collection]), *reports.assets],
    asset_checks=list(all_checks()),
    jobs=all_jobs,
    schedules=[daily_crawl, daily_collection],
    sensors=[stale_batches],
    resources={"lake": LakeResource(), "zoo": ZooResource()},
    executor=dg.in_process_executor,
)

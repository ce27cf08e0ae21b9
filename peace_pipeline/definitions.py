"""The roof: assembles assets, checks, resources, schedule and sensor. The one module here that knows Dagster."""

from __future__ import annotations

from peace_pipeline.threads import share_the_machine

share_the_machine()  # before anything loads NumPy or torch

import dagster as dg

from peace_pipeline.assets import atlas, collection, encoder, index, reports, status, weights, zoo
from peace_pipeline.assets.catalog import catalogued
from peace_pipeline.assets.checks import all_checks
from peace_pipeline.assets.incremental import Pass, PassFailed, PassSummary
from peace_pipeline.assets.jobs import all_jobs
from peace_pipeline.assets.schedules import daily_collection, daily_crawl, hourly_status
from peace_pipeline.assets.sensors import stale_batches
from peace_pipeline.resources import LakeResource, ZooResource

__all__ = ["Pass", "PassFailed", "PassSummary", "defs"]

_ASKED = [
    "contrastive_pairs",
    "peace_encoder",
    "index_atlas",
    *(each.asset for each in reports.REPORTS if not each.after_training),
]
_STAGES = [zoo, weights, encoder, index, atlas, collection, status]

defs = dg.Definitions(
    assets=catalogued([*dg.load_assets_from_modules(_STAGES), *reports.assets], _ASKED),
    asset_checks=list(all_checks()),
    jobs=all_jobs,
    schedules=[daily_crawl, daily_collection, hourly_status],
    sensors=[stale_batches],
    resources={"lake": LakeResource(), "zoo": ZooResource()},
    executor=dg.in_process_executor,
)

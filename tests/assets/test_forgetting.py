"""What is left out, as the timeline shows it."""

from __future__ import annotations

import dagster as dg

from peace_pipeline.resources.instance import open_instance
from tests.pipeline import Workplace, own, place

__all__ = ["own", "place"]


def test_the_timeline_shows_what_was_forgotten(own: Workplace) -> None:
    model = "directory:zoo/n000"
    own.peace("forget", model)
    instance = open_instance(own.lake)
    (run,) = instance.get_runs(dg.RunsFilter(job_name="forget"))
    assert run.run_config["ops"]["leave_out"]["config"] == {"name": model, "again": False}
    event = instance.get_latest_materialization_event(dg.AssetKey("zoo_crawl"))
    assert event.run_id == run.run_id
    assert event.asset_materialization.metadata["forgotten"].value == 1

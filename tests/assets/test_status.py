"""How the lake stands, as the UI shows it."""

from __future__ import annotations

import os
import time

import dagster as dg

from peace_pipeline.assets.status import table_of
from peace_pipeline.definitions import Pass, defs
from peace_pipeline.resources.instance import open_instance
from peace_pipeline.stages.crawl import lock_of_crawls
from tests.pipeline import NETWORKS, Workplace, own, place

__all__ = ["own", "place"]


def test_the_ui_shows_how_the_lake_stands_as_the_command_line_does(place: Workplace) -> None:
    instance = open_instance(place.lake)
    said = place.peace("status", "--json").json
    event = instance.get_latest_materialization_event(dg.AssetKey("lake_status"))
    metadata = {name: value.value for name, value in event.asset_materialization.metadata.items()}
    assert metadata["models"] == said["models"] == NETWORKS
    assert metadata["in the index"] == said["embedded"]
    assert metadata["stale"] == sum(said["stale"].values()) == 0
    assert metadata["skipped"] == sum(said["skipped"].values())
    assert metadata["gone"] == said["gone"]
    assert metadata["encoder"] == said["encoder"] == said["indexed_by"]
    for table, counts in (("models by source", said["sources"]), ("skipped by reason", said["skipped"])):
        assert metadata[table] == table_of(table.rpartition(" ")[2], counts).value


def test_what_tables_hold_breaks_none() -> None:
    assert table_of("reason", {"either a|b": 1200}).value.splitlines()[-1] == r"| either a\|b | 1,200 |"


def test_the_lake_warns_of_what_is_stale(own: Workplace) -> None:
    peace = Pass(defs, own.lake)

    def found() -> dict[str, tuple[bool, dg.AssetCheckSeverity]]:
        results = peace.materialize("status").get_asset_check_evaluations()
        return {each.check_name: (each.passed, each.severity) for each in results}

    passed, warns = (True, dg.AssetCheckSeverity.WARN), (False, dg.AssetCheckSeverity.WARN)
    names = ["nothing_is_stale", "index_is_of_the_current_encoder", "crawled_lately"]
    assert found() == dict.fromkeys(names, passed)
    (batch,) = own.lake.batches()
    own.lake.wirings(batch).unlink()
    old = time.time() - 40 * 3600
    os.utime(lock_of_crawls(own.lake), (old, old))
    assert found() == {names[0]: warns, names[1]: passed, names[2]: warns}

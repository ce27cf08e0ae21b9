"""What failed for a passing reason is offered again by later crawls, after growing pauses."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq

from peace_pipeline.lake import Lake, write_parquet
from peace_pipeline.lake.tables import INVENTORY, SKIPPED
from peace_pipeline.stages.crawl import crawl_zoo
from peace_pipeline.stages.extract import extract_batch
from peace_pipeline.zoo.batches import store_batch
from peace_pipeline.zoo.fetching import Fetcher
from peace_pipeline.zoo.hub import politeness
from peace_pipeline.zoo.record import ModelRecord
from peace_pipeline.zoo.retries import FIRST_PAUSE, LONGEST_PAUSE, Retries, pause
from tests.standin_hub import Fault, StandinHub
from tests.zoo.hub.hubs import config, crawl, hub

__all__ = ["hub"]
NOW = datetime(2020, 1, 1, tzinfo=UTC)


def test_pauses_grow_to_a_day() -> None:
    pauses = [pause(failures) for failures in range(1, 40)]
    assert pauses[:4] == [timedelta(0), FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE


def stored(lake: Lake, *model_ids: str, revision: str = "r") -> str:
    return store_batch(lake, [ModelRecord("directory", name, revision, "file:///m") for name in model_ids])


def test_failures_are_counted_until_they_are_settled(lake: Lake) -> None:
    retries, batch = Retries(lake), stored(lake, "a", "b")
    for count in range(1, 4):
        retries.note(batch, [("a", "r")], ["b"], NOW)
        retry = Retries(lake).of(["a", "b"])["a"]
        assert (retry.failures, retry.next_try, retry.batch) == (count, NOW + pause(count), batch)
    retries.note(batch, [("a", "another")], [], NOW)
    assert retries.of(["a"])["a"].failures == 1
    retries.note(batch, [], ["a", "b"], NOW)
    assert retries.all() == {}


def test_what_is_done_again_of_a_superseded_batch_changes_nothing(lake: Lake) -> None:
    retries, first, second = Retries(lake), stored(lake, "a", "b"), stored(lake, "a", "b", revision="s")
    retries.note(second, [("a", "s"), ("b", "s")], [], NOW)
    noted = retries.all()
    retries.note(first, [("a", "r")], ["b"], NOW)
    assert retries.all() == noted


def test_failures_in_a_lake_that_counts_none_may_be_tried_at_once(lake: Lake) -> None:
    first, second = stored(lake, "a", "b", "c"), stored(lake, "b", revision="s")
    for batch, names in ((first, "ab"), (second, "")):
        rows = [
            {"model_id": name, "revision": "r", "status": SKIPPED, "reason": "504", "passing": True}
            for name in names
        ]
        write_parquet(pa.Table.from_pylist(rows, schema=INVENTORY.schema), lake.inventory(batch))
    shutil.rmtree(lake.current / "retries.lance", ignore_errors=True)
    found = Retries(lake).all()
    assert list(found) == ["a"]
    assert (found["a"].failures, found["a"].next_try < NOW) == (1, True)


def test_wrong_bytes_twice_skip_the_model_until_they_are_right(lake: Lake, hub: StandinHub) -> None:
    """It is offered again by the next crawl, and then after growing pauses."""
    now, fetcher = datetime.now(UTC), Fetcher(config(hub).build(lake))

    def extract(batch: str, wrong: bool) -> int:
        hub.script("m1/resolve", [Fault("slow", 0), Fault("wrong_bytes")] * 2 * wrong)
        return extract_batch(lake, batch, fetcher, now=now).skipped

    (batch,) = crawl(lake, hub).batches
    assert extract(batch, wrong=True) == 1
    (skipped,) = _inventory_reasons(lake, batch)
    assert skipped == ("org/m1", "model.safetensors: its sha256 is not the Hub's, in two downloads")
    (batch,) = crawl_zoo(lake, config(hub), now=now).batches
    assert extract(batch, wrong=True) == 1
    assert not crawl_zoo(lake, config(hub), now=now).batches
    again = crawl_zoo(lake, config(hub), now=now + FIRST_PAUSE)
    assert again.changed == ["org/m1"]
    assert extract(*again.batches, wrong=False) == 0
    assert not crawl_zoo(lake, config(hub), now=now + 2 * LONGEST_PAUSE).batches


def _inventory_reasons(lake: Lake, batch: str) -> list[tuple[str, str]]:
    rows = pq.read_table(lake.inventory(batch)).to_pylist()
    return [(row["model_id"], row["reason"]) for row in rows if row["status"] == "skipped"]


def test_what_failed_in_passing_is_offered_again(lake: Lake, hub: StandinHub) -> None:
    crawl(lake, hub)
    hub.script("m1/resolve", [Fault("504")] * politeness.ATTEMPTS)
    (batch,) = lake.batches()
    extract_batch(lake, batch, Fetcher(config(hub).build(lake)))
    ((model_id, reason),) = _inventory_reasons(lake, batch)
    assert model_id == "org/m1"
    assert "504" in reason
    assert crawl(lake, hub).changed == ["org/m1"]

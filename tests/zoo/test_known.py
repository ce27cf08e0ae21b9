"""A crawl is told of the models of its source, and looks up no others."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from peace_pipeline.lake import Lake
from peace_pipeline.lake.tables import DELETED, NEW, SKIPPED
from peace_pipeline.zoo.batches import store_batch
from peace_pipeline.zoo.known import Known
from peace_pipeline.zoo.record import KnownModel, ModelRecord
from peace_pipeline.zoo.retries import Retries

NOW = datetime(2020, 1, 1, tzinfo=UTC)


def record(model_id: str, status: str = NEW, source: str = "directory") -> ModelRecord:
    reason = None if status == NEW else "why"
    return ModelRecord(source, model_id, "r", "file:///m", "etag", status=status, reason=reason)


def known(lake: Lake, found: dict[str, KnownModel] | None = None, now: datetime = NOW) -> Known:
    return Known(lake, "directory", "directory:it's/", found or {}, now)


def test_models_of_the_source_that_are_there(lake: Lake) -> None:
    own = [record("directory:it's/a"), record("directory:it's/b", SKIPPED)]
    gone = record("directory:it's/c", DELETED)
    others = [record("directory:other/a"), record("directory:it's/d", source="trained")]
    store_batch(lake, [*own, gone, *others])
    expected = {each.model_id: KnownModel.of(each) for each in own}
    assert known(lake).all() == expected
    assert sorted(known(lake).ids()) == sorted(expected)
    ids = [each.model_id for each in (*own, gone, *others)]
    assert known(lake).among([*ids, "unknown"]) == expected


def test_what_was_found_goes_before_what_is_stored(lake: Lake) -> None:
    store_batch(lake, [record("directory:it's/a"), record("directory:it's/b")])
    found = {
        each.model_id: KnownModel.of(each)
        for each in (record("directory:it's/a", DELETED), record("directory:it's/c", SKIPPED))
    }
    assert sorted(known(lake, found).all()) == ["directory:it's/b", "directory:it's/c"]
    assert list(known(lake, found).among(["directory:it's/a", "directory:it's/c"])) == ["directory:it's/c"]


def test_a_model_is_looked_at_again_when_its_pause_is_over_and_once(lake: Lake) -> None:
    name = "directory:it's/a"
    batch = store_batch(lake, [record(name)])
    for _ in range(2):
        Retries(lake).note(batch, [(name, "r")], [], NOW)
    soon, later = (known(lake, now=NOW + timedelta(minutes=minutes)) for minutes in (14, 15))
    assert [soon.among([name])[name].etag, soon.all()[name].etag] == ["etag", "etag"]
    assert [later.among([name])[name].etag, later.all()[name].etag] == [None, None]
    store_batch(lake, [record(name)])
    assert later.among([name])[name].etag == "etag"

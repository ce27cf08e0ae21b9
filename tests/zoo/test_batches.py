"""Records are stored in batches: the last record of a model counts, and nothing is told before it is stored."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from peace_pipeline.lake import Lake
from peace_pipeline.zoo.batches import in_batches, read_records, skipped_records, store_batch
from peace_pipeline.zoo.current import Current
from peace_pipeline.zoo.record import ModelRecord
from peace_pipeline.zoo.source import Found, Milestone


def record(model_id: str, revision: str = "r") -> ModelRecord:
    return ModelRecord("directory", model_id, revision, "file:///m")


def ids(records: list[ModelRecord]) -> list[str]:
    return [f"{record.model_id}@{record.revision}" for record in records]


def test_the_last_record_of_a_model_counts() -> None:
    found = [record("a"), record("b"), record("a", "s"), record("c"), record("a", "t")]
    assert [ids(batch) for batch in in_batches(found, 3)] == [["a@s", "b@r", "c@r"], ["a@t"]]


def test_a_milestone_is_told_when_all_before_it_is_stored() -> None:
    told: list[str] = []
    found: list[Found] = []
    for name in "abc":
        found += [record(name), Milestone(lambda name=name: told.append(name))]  # type: ignore[misc]
    batches = in_batches(found, 2)
    assert ids(next(batches)) == ["a@r", "b@r"]
    assert told == []
    assert ids(next(batches)) == ["c@r"]
    assert told == ["a", "b"]
    assert next(batches, None) is None
    assert told == ["a", "b", "c"]


def test_what_came_before_an_error_is_stored_before_it_is_raised() -> None:
    def broken() -> Iterator[Found]:
        yield record("a")
        raise ValueError("broken off")

    batches = in_batches(broken(), 5)
    assert ids(next(batches)) == ["a@r"]
    with pytest.raises(ValueError, match="broken off"):
        next(batches)


def test_a_batch_that_is_stored_is_current(lake: Lake) -> None:
    records = [record("a"), record("b").skipped("no weights")]
    first = store_batch(lake, records)
    assert read_records(lake, first) == records
    assert skipped_records(lake, [first]) == [{"model_id": "b", "reason": "no weights"}]
    second = store_batch(lake, [record("a", "s")])
    assert Current(lake).batches() == [first, second]
    assert ids(list(Current(lake).records(["a"]).values())) == ["a@s"]
    assert Current(lake).newest(first, ["model_id"])["model_id"].to_pylist() == ["b"]

"""Batches: the model records of one crawl, at most a configured number of them, as one Parquet file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

import pyarrow.parquet as pq

from peace_pipeline.lake import Lake, write_parquet
from peace_pipeline.lake.query import query
from peace_pipeline.zoo.current import Current
from peace_pipeline.zoo.record import ModelRecord, from_table, to_table
from peace_pipeline.zoo.source import Found, Milestone

_BATCH = "%Y%m%dT%H%M%S%f"


def skipped_records(lake: Lake, batches: Iterable[str]) -> list[dict[str, str]]:
    """Model id and reason of every model that the crawl of these batches skipped."""
    sql = "SELECT model_id, reason FROM read_parquet($zoo) WHERE status = 'skipped'"
    return [row for batch in batches for row in query(sql, zoo=lake.zoo(batch)).to_pylist()]


def read_records(lake: Lake, batch: str) -> list[ModelRecord]:
    """The model records of a batch."""
    return from_table(pq.read_table(lake.zoo(batch)))


def store_batch(lake: Lake, records: Iterable[ModelRecord]) -> str:
    """Store records as the newest batch, of which the current state then knows; its name."""
    batch = _next_batch(lake)
    write_parquet(to_table(records), lake.zoo(batch))
    Current(lake)
    return batch


def in_batches(found: Iterable[Found], batch_size: int) -> Iterator[list[ModelRecord]]:
    """Records, at most ``batch_size`` at a time, each batch to be stored before the next is asked for.

    Of a model that changes while it is crawled the last record counts. Milestones are told as soon as all records
    before them are stored. Where ``found`` ends with an error, it is raised after what it gave before.
    """
    rows: dict[str, ModelRecord] = {}
    milestones: list[Milestone] = []
    stream = _Stream(found)
    for item in stream:
        if isinstance(item, Milestone):
            milestones.append(item)
        else:
            rows[item.model_id] = item
        if len(rows) == batch_size:
            yield list(rows.values())
            rows = {}
        if not rows:
            _tell(milestones)
    if rows:
        yield list(rows.values())
    _tell(milestones)
    stream.finish()


class _Stream:
    """An iterable that ends where another one fails, and raises its error afterwards."""

    def __init__(self, items: Iterable[Found]) -> None:
        self.items = items
        self.error: Exception | None = None

    def __iter__(self) -> Iterator[Found]:
        try:
            yield from self.items
        except Exception as error:
            self.error = error

    def finish(self) -> None:
        if self.error is not None:
            raise self.error


def _tell(milestones: list[Milestone]) -> None:
    for milestone in milestones:
        milestone.reached()
    milestones.clear()


def _next_batch(lake: Lake) -> str:
    """The time now, or just after the newest batch where the clock was set back: newer batches sort later."""
    now = datetime.now(UTC)
    if batches := lake.batches():
        newest = datetime.strptime(batches[-1], _BATCH).replace(tzinfo=UTC)
        now = max(now, newest + timedelta(microseconds=1))
    return now.strftime(_BATCH)

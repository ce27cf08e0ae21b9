"""Models that failed for a passing reason: how often, and when a crawl offers them again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from peace_pipeline.lake import Lake
from peace_pipeline.lake.keyed import KeyedTable
from peace_pipeline.zoo.current import Current, writing

FIRST_PAUSE, LONGEST_PAUSE = timedelta(minutes=15), timedelta(days=1)

_SCHEMA = pa.schema(
    [
        pa.field("model_id", pa.string(), nullable=False),
        pa.field("revision", pa.string(), nullable=False),
        pa.field("batch", pa.string(), nullable=False),
        pa.field("failures", pa.int32(), nullable=False),
        pa.field("next_try", pa.timestamp("us", tz="UTC"), nullable=False),
    ]
)


@dataclass(frozen=True)
class Retry:
    """A revision failed in ``batch``, for the ``failures``-th time; crawls offer it again from ``next_try`` on."""

    model_id: str
    revision: str
    batch: str
    failures: int
    next_try: datetime


def pause(failures: int) -> timedelta:
    """How long a model is left alone after so many failures: not at all after the first, at most a day."""
    if failures < 2:
        return timedelta(0)
    return min(FIRST_PAUSE * 2 ** min(failures - 2, 20), LONGEST_PAUSE)


class Retries:
    """The models that failed for a passing reason and have not been had since."""

    def __init__(self, lake: Lake) -> None:
        self.current = Current(lake)
        self.table = KeyedTable(lake.current, "retries", _SCHEMA, key="model_id")
        if not self.table.exists:
            with writing(lake):
                if not self.table.exists:
                    self.table.create(self._stored())

    def of(self, model_ids: Iterable[str]) -> dict[str, Retry]:
        """Those of these models that failed."""
        return {row["model_id"]: Retry(**row) for row in self.table.rows(model_ids).to_pylist()}

    def all(self) -> dict[str, Retry]:
        """All that failed."""
        rows = (row for batch in self.table.scan() for row in batch.to_pylist())
        return {row["model_id"]: Retry(**row) for row in rows}

    def note(
        self, batch: str, failed: Iterable[tuple[str, str]], settled: Iterable[str], now: datetime
    ) -> None:
        """Take in how a stage went with a batch; to be done before its table is stored.

        ``failed`` are models and revisions that failed for a passing reason, ``settled`` models that are done, or
        skipped for good. What is done again of a batch says nothing of models that are in a later one.
        """
        revisions, done = dict(failed), list(settled)
        before = self.of([*revisions, *done])
        rows = self.current.rows(revisions.keys() | before.keys(), ["model_id", "batch"]).to_pylist()
        newest = {row["model_id"] for row in rows if row["batch"] == batch}
        retries = []
        for model_id in revisions.keys() & newest:
            earlier, revision = before.get(model_id), revisions[model_id]
            failures = 1 + (earlier.failures if earlier and earlier.revision == revision else 0)
            retries.append(vars(Retry(model_id, revision, batch, failures, now + pause(failures))))
        over = before.keys() & newest & set(done)
        if retries or over:
            with writing(self.current.lake):
                self.table.delete(over)
                self.table.merge(pa.Table.from_pylist(retries, schema=_SCHEMA))

    def _stored(self) -> Iterator[pa.RecordBatch]:
        """What the outcomes in a lake say that has no such table yet: each failed once, and may be tried at once."""
        lake = self.current.lake
        for batch in self.current.batches():
            outcomes = [path for path in (lake.inventory(batch), lake.wirings(batch)) if path.exists()]
            failed = {model_id: revision for path in outcomes for model_id, revision in _failed(path)}
            newest = self.current.newest(batch, ["model_id"])["model_id"].to_pylist() if failed else []
            rows = [
                vars(Retry(model_id, failed[model_id], batch, 1, datetime.fromtimestamp(0, UTC)))
                for model_id in newest
                if model_id in failed
            ]
            yield from pa.Table.from_pylist(rows, schema=self.table.schema).to_batches()


def _failed(outcomes: Any) -> Iterator[tuple[str, str]]:
    """Model and revision of every outcome with a passing reason; tables of early versions name none."""
    if "passing" in pq.read_schema(outcomes).names:
        table = pq.read_table(outcomes, columns=["model_id", "revision", "passing"])
        yield from ((row["model_id"], row["revision"]) for row in table.to_pylist() if row["passing"])

"""What the lake knows of models: newest records, crawl batches, and the networks that can be embedded."""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from peace_pipeline.lake import Lake, write_parquet
from peace_pipeline.zoo.record import KnownModel, ModelRecord, from_table, to_table
from peace_pipeline.zoo.source import Found, Milestone

if TYPE_CHECKING:
    import pyarrow as pa

_BATCH = "%Y%m%dT%H%M%S%f"

TRAIN, VALIDATION, TEST = "train", "validation", "test"

NEWEST = """
    SELECT * EXCLUDE (filename), parse_filename(filename, true) AS batch
    FROM read_parquet($zoo, filename = true)
    QUALIFY row_number() OVER (PARTITION BY model_id ORDER BY batch DESC) = 1
"""


def query(sql: str, tables: Mapping[str, pa.Table] | None = None, **parameters: object) -> pa.Table:
    """Run SQL in an in-memory DuckDB over ``tables`` and files. A path's last part may be a pattern."""
    import duckdb

    with duckdb.connect() as connection:
        for name, table in (tables or {}).items():
            connection.register(name, table)
        values = {
            name: f"{glob.escape(str(value.parent))}/{value.name}" if isinstance(value, Path) else value
            for name, value in parameters.items()
        }
        return connection.sql(sql, params=values).to_arrow_table()


def newest_records(lake: Lake) -> dict[str, ModelRecord]:
    """The newest record of every model ever crawled, deleted ones too."""
    if not lake.batches():
        return {}
    table = query(NEWEST, zoo=lake.zoo("[!.]*"))
    return {record.model_id: record for record in from_table(table.drop_columns(["batch"]))}


_KNOWN = f"""
    SELECT model_id, source, revision, uri, etag, status, reason, batch FROM ({NEWEST})
"""
_PASSING = """
    SELECT DISTINCT model_id, parse_filename(filename, true) AS batch
    FROM (
        SELECT false AS passing WHERE false  -- older tables lack the column
        UNION ALL BY NAME FROM read_parquet($outcomes, filename = true, union_by_name = true)
    )
    WHERE passing
"""


def known_models(lake: Lake) -> dict[str, KnownModel]:
    """What a crawl needs of every model ever crawled, deleted ones too.

    A model that could not be fetched for a passing reason has no etag, so that it is looked at again.
    """
    if not lake.batches():
        return {}
    rows = query(_KNOWN, zoo=lake.zoo("[!.]*")).to_pylist()
    again = {
        (row["model_id"], row["batch"])
        for outcomes in (lake.inventory("[!.]*"), lake.wirings("[!.]*"))
        if any(outcomes.parent.glob(outcomes.name))
        for row in query(_PASSING, outcomes=outcomes).to_pylist()
    }
    return {
        row["model_id"]: KnownModel(
            row["source"],
            row["revision"],
            row["uri"],
            None if (row["model_id"], row["batch"]) in again else row["etag"],
            row["status"],
            row["reason"],
        )
        for row in rows
    }


CONTENTS = """
    SELECT DISTINCT model_id, revision, content
    FROM (
        SELECT NULL::VARCHAR AS content WHERE false  -- older tables lack the column
        UNION ALL BY NAME FROM read_parquet($inventory, union_by_name = true)
    )
    WHERE content IS NOT NULL
"""
_COPIES = f"""
    SELECT list(model_id ORDER BY model_id) AS copies
    FROM ({NEWEST}) newest JOIN ({CONTENTS}) USING (model_id, revision)
    WHERE newest.status = 'new'
    GROUP BY content
    HAVING count(*) > 1 AND bool_or(batch = $batch)
    ORDER BY copies
"""


def copies(lake: Lake, batch: str) -> list[list[str]]:
    """Models of equal tensors, byte by byte, that a batch's inventory shows: each group has one of the batch."""
    table = query(_COPIES, zoo=lake.zoo("[!.]*"), inventory=lake.inventory("[!.]*"), batch=batch)
    return table["copies"].to_pylist()


def skipped_records(lake: Lake, batches: Iterable[str]) -> list[dict[str, str]]:
    """Model id and reason of every model that the crawl of these batches skipped."""
    sql = "SELECT model_id, reason FROM read_parquet($zoo) WHERE status = 'skipped'"
    return [row for batch in batches for row in query(sql, zoo=lake.zoo(batch)).to_pylist()]


def write_batches(
    lake: Lake, found: Iterable[Found], batch_size: int
) -> Iterator[tuple[str, list[ModelRecord]]]:
    """Write records to the lake in batches of at most ``batch_size`` and yield each batch as it is stored.

    Of a model that changes while it is crawled the last record counts. Milestones are told as soon as all records
    before them are stored. Where ``found`` ends with an error, what it gave before is stored first.
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
            yield _write_batch(lake, rows.values()), list(rows.values())
            rows = {}
        if not rows:
            _tell(milestones)
    if rows:
        yield _write_batch(lake, rows.values()), list(rows.values())
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


def _write_batch(lake: Lake, rows: Iterable[ModelRecord]) -> str:
    batch = _next_batch(lake)
    write_parquet(to_table(rows), lake.zoo(batch))
    return batch


def _next_batch(lake: Lake) -> str:
    """The time now, or just after the newest batch where the clock was set back: newer batches sort later."""
    now = datetime.now(UTC)
    if batches := lake.batches():
        newest = datetime.strptime(batches[-1], _BATCH).replace(tzinfo=UTC)
        now = max(now, newest + timedelta(microseconds=1))
    return now.strftime(_BATCH)


@dataclass(frozen=True)
class Network:
    """A current model whose layers are in the lake, with what pairs and reports need of its record.

    ``run`` names the training run (models that don't say are a run of their own), ``twin_of`` the run of which it is
    a hard-negative twin; ``task`` joins the card's task and datasets; ``recipe`` is ``None`` where the card names
    none.
    """

    model_id: str
    revision: str
    batch: str
    source: str
    architecture: str | None
    task: str | None
    recipe: str | None
    run: str
    shuffled_labels: bool
    accuracy: float | None
    method: str
    parameters: int
    card: str
    twin_of: str | None = None

    @property
    def split(self) -> str:
        """Which side of the 60/15/25 split the training run is on; twins, which begin alike, are on one side."""
        return split_of(self.twin_of or self.run)


_NETWORKS = f"""
    WITH newest AS ({NEWEST}),
    wired AS (SELECT *, parse_filename(filename, true) AS batch FROM read_parquet($wirings, filename = true))
    SELECT model_id, newest.revision, batch, source, architecture,
           CASE WHEN len(datasets) > 0
                THEN concat_ws(' · ', task, array_to_string(list_sort(datasets), ', ')) END AS task,
           hyperparameters['recipe'] AS recipe,
           coalesce(source || ':' || hyperparameters['run'], model_id) AS run,
           source || ':' || hyperparameters['twin_of'] AS twin_of,
           coalesce(hyperparameters['labels'] = 'shuffled', false) AS shuffled_labels,
           metrics['accuracy'] AS accuracy, wired.method, wired.parameters, coalesce(card, '') AS card
    FROM newest JOIN wired USING (model_id, batch)
    WHERE newest.status = 'new' AND wired.status = 'new'
    ORDER BY model_id
"""


def networks(lake: Lake) -> list[Network]:
    """All current networks whose layers are in the lake, by model id."""
    if not any((lake.root / "wirings").glob("[!.]*.parquet")):
        return []
    table = query(_NETWORKS, zoo=lake.zoo("[!.]*"), wirings=lake.wirings("[!.]*"))
    return [Network(**row) for row in table.to_pylist()]


def split_of(run: str) -> str:
    """60% of runs train, 15% validate, 25% test, by a hash of the run's name."""
    place = int.from_bytes(hashlib.sha256(run.encode()).digest()[:8]) / 2**64
    return TRAIN if place < 0.60 else VALIDATION if place < 0.75 else TEST

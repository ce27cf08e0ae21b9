"""Embeddings → the LanceDB index, a batch at a time: what an update costs depends on the batch alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from peace_pipeline.encoder.store import NoEncoder, current_version
from peace_pipeline.index.settled import Settled, settle, unsettle_all
from peace_pipeline.index.tables import (
    INDEX_TABLES,
    LAYERS,
    MODELS,
    OUTPUTS,
    IndexTable,
    connect,
    is_complete,
    is_outdated,
    maintain,
    open_or_create,
    replace,
    table_names,
    upsert,
    writer_lock,
)
from peace_pipeline.lake import Lake
from peace_pipeline.lake.keyed import is_in
from peace_pipeline.lake.query import query
from peace_pipeline.responses.standard import SKETCH, VERSION
from peace_pipeline.stages.embed import LAYER, NETWORK, OUTPUT, embedded_batches, written_at
from peace_pipeline.weights.layer_table import READING
from peace_pipeline.zoo.current import Current

if TYPE_CHECKING:
    from lancedb import DBConnection
    from lancedb.table import Table

_ID = ["model_id"]
_KEPT = """
    SELECT model_id, revision FROM read_parquet($networks) embedded
    JOIN read_parquet($zoo) records USING (model_id, revision)
    JOIN read_parquet($wirings) wired USING (model_id, revision)
    JOIN newest USING (model_id)
    WHERE records.status = 'new' AND wired.status = 'new'
"""
_CONTENTS = """
    SELECT model_id, revision, content
    FROM (
        SELECT NULL::VARCHAR AS content WHERE false  -- older tables lack the column
        UNION ALL BY NAME FROM read_parquet($inventory)
    )
"""
_MODEL_ROWS = f"""
    SELECT model_id, revision, records.source, task, datasets,
           coalesce(architecture, wired.family, wired.method) AS architecture, library, license, wired.parameters,
           content, tags, card,
           list_transform(map_entries(metrics), lambda e: {{'name': e.key, 'value': e.value}}) AS metrics,
           encoder_version, embedded_at, run_by, vector, weights, responses
    FROM ({_KEPT}) JOIN read_parquet($networks) USING (model_id, revision)
    JOIN read_parquet($zoo) records USING (model_id, revision)
    JOIN read_parquet($wirings) wired USING (model_id, revision)
    LEFT JOIN ({_CONTENTS}) USING (model_id, revision)
"""
_PART_ROWS = f"""
    SELECT model_id || '#' || CAST({{place}} AS VARCHAR) AS {{key}}, parts.*
    FROM read_parquet($parts) parts JOIN ({_KEPT}) USING (model_id, revision)
"""
_QUERIES = {
    MODELS.name: _MODEL_ROWS,
    LAYERS.name: _PART_ROWS.format(place="layer", key=LAYERS.key),
    OUTPUTS.name: _PART_ROWS.format(place="place", key=OUTPUTS.key),
}
_LEVELS = {MODELS.name: NETWORK, LAYERS.name: LAYER, OUTPUTS.name: OUTPUT}


@dataclass(frozen=True)
class IndexUpdate:
    """What one update of the index did. ``waiting`` counts batches that the new encoder has yet to embed."""

    upserted: int
    deleted: int
    models: int
    waiting: int


class NotEmbedded(Exception):
    """A batch that can't be indexed yet."""


def update_index(lake: Lake, batch: str) -> IndexUpdate:
    """Bring the index up to date with a batch: upsert its networks, delete what is gone or skipped.

    Rows are upserted before others are deleted, so for a moment a reader may see a layer that a model no longer has,
    but never misses a model. A batch counts as settled when all is done, so one that was broken off is done again.
    After a retraining the index goes on serving the version it has until every batch is embedded by the new
    encoder; then each table is replaced in one commit, ``models`` last. So is an index that an earlier version of
    PEACE wrote with fewer columns.

    Raises:
        NoEncoder: where the lake has none.
        NotEmbedded: where the current encoder has not embedded the batch.
    """
    with writer_lock(lake):
        version = current_version(lake)
        if version is None:
            raise NoEncoder(lake)
        if not all(lake.embeddings(level, version, batch).exists() for level in _LEVELS.values()):
            raise NotEmbedded(f"batch {batch} has no embeddings by encoder {version}: materialize them first")
        database = connect(lake)
        if not is_complete(lake):
            unsettle_all(lake)
        if not is_outdated(lake, version):
            return _upsert(lake, database, version, batch)
        waiting = len(set(lake.batches()) - embedded_batches(lake, version))
        if waiting:
            return IndexUpdate(0, 0, _count(database), waiting)
        return _replace(lake, database, version)


def _settled(lake: Lake, version: str, batches: Iterable[str]) -> dict[str, Settled]:
    written = written_at(lake, version, batches)
    return {batch: Settled(version, reading(), time) for batch, time in written.items()}


def reading() -> str:
    """How this version of PEACE reads checkpoints into layers, and which probes it asks networks."""
    return ".".join([*READING.values(), VERSION])


def _upsert(lake: Lake, database: DBConnection, version: str, batch: str) -> IndexUpdate:
    settled, newest = _settled(lake, version, [batch]), Current(lake).newest(batch, _ID)
    ids, tables, rows = newest["model_id"].to_pylist(), {}, {}
    for name, kind in INDEX_TABLES.items():
        rows[name] = _rows(lake, version, batch, newest, kind)
        tables[name] = open_or_create(database, kind, _sizes(lake, version, batch, kind))
    for name, kind in INDEX_TABLES.items():
        upsert(tables[name], kind, rows[name])
    deleted = {
        name: _delete_others(tables[name], kind, ids, rows[name])
        for name, kind in reversed(INDEX_TABLES.items())
    }
    for name, kind in INDEX_TABLES.items():
        maintain(tables[name], kind)
    settle(lake, settled)
    models = MODELS.name
    return IndexUpdate(len(rows[models]), deleted[models], tables[models].count_rows(), 0)


def _delete_others(table: Table, kind: IndexTable, model_ids: list[str], rows: pa.Table) -> int:
    """Delete what the table has of these models beside ``rows``; returns how many rows that were."""
    found = table.search().where(is_in("model_id", model_ids)).select([kind.key]).limit(None).to_arrow()
    others = set(found[kind.key].to_pylist()) - set(rows[kind.key].to_pylist())
    if others:
        table.delete(is_in(kind.key, sorted(others)))
    return len(others)


def _replace(lake: Lake, database: DBConnection, version: str) -> IndexUpdate:
    settled = _settled(lake, version, embedded_batches(lake, version))
    before, current = _count(database), Current(lake)

    def rows(kind: IndexTable) -> Iterator[pa.RecordBatch]:
        for batch in lake.batches():
            yield from _rows(lake, version, batch, current.newest(batch, _ID), kind).to_batches()

    for kind in INDEX_TABLES.values():
        replace(database, kind, _sizes(lake, version, next(iter(settled)), kind), rows(kind))
    after = _count(database)
    settle(lake, settled)
    return IndexUpdate(after, max(0, before - after), after, 0)


def _count(database: DBConnection) -> int:
    return database.open_table(MODELS.name).count_rows() if MODELS.name in table_names(database) else 0


def _sizes(lake: Lake, version: str, batch: str, kind: IndexTable) -> dict[str, int]:
    """Of the table's vectors, by column."""
    schema = pq.read_schema(lake.embeddings(_LEVELS[kind.name], version, batch))
    kinds = {name: schema.field(name).type for name in kind.vectors}
    return {name: getattr(kind, "list_size", SKETCH) for name, kind in kinds.items()}


def _rows(lake: Lake, version: str, batch: str, newest: pa.Table, kind: IndexTable) -> pa.Table:
    """Rows for a table, of those of the ``newest`` models that the batch has embeddings of."""
    files = {
        "networks": lake.embeddings(NETWORK, version, batch),
        "zoo": lake.zoo(batch),
        "wirings": lake.wirings(batch),
    }
    if kind is MODELS:
        files["inventory"] = lake.inventory(batch)
    else:
        files["parts"] = lake.embeddings(_LEVELS[kind.name], version, batch)
    found = query(_QUERIES[kind.name], {"newest": newest}, **files)
    return found.select(kind.columns.names).cast(kind.schema(_sizes(lake, version, batch, kind)))

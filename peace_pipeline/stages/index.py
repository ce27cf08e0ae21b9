"""Embeddings → the LanceDB index, a batch at a time: what an update costs depends on the batch alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from peace_pipeline.encoder.store import NoEncoder, current_version
from peace_pipeline.index.settled import Settled, are_noted, settle, settled_batches, unsettle_all
from peace_pipeline.index.tables import (
    LAYER_ID,
    LAYERS,
    MODELS,
    IndexTable,
    connect,
    indexed_models,
    is_complete,
    maintain,
    open_or_create,
    replace,
    served_version,
    upsert,
    writer_lock,
)
from peace_pipeline.lake import Lake
from peace_pipeline.lake.keyed import is_in
from peace_pipeline.lake.query import query
from peace_pipeline.stages.embed import LAYER, NETWORK, embedded_batches, written_at
from peace_pipeline.weights.layer_table import READING, is_read_alike
from peace_pipeline.zoo.current import Current

if TYPE_CHECKING:
    from lancedb import DBConnection
    from lancedb.table import Table

_ID = ["model_id"]
_KEPT = """
    SELECT model_id, revision FROM read_parquet($embeddings) embedded
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
    SELECT model_id, revision, records.source, task, datasets, architecture, library, license, wired.parameters,
           content, tags, card,
           list_transform(map_entries(metrics), lambda e: {{'name': e.key, 'value': e.value}}) AS metrics,
           encoder_version, embedded_at, vector
    FROM ({_KEPT}) JOIN read_parquet($embeddings) USING (model_id, revision)
    JOIN read_parquet($zoo) records USING (model_id, revision)
    JOIN read_parquet($wirings) wired USING (model_id, revision)
    LEFT JOIN ({_CONTENTS}) USING (model_id, revision)
"""
_LAYER_ROWS = f"""
    SELECT {LAYER_ID} AS layer_id, model_id, revision, layer, name, kind, encoder_version, vector
    FROM read_parquet($embeddings) JOIN kept USING (model_id, revision)
"""


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
    encoder; then each table is replaced in one commit, ``layers`` first and ``models`` last.

    Raises:
        NoEncoder: where the lake has none.
        NotEmbedded: where the current encoder has not embedded the batch.
    """
    with writer_lock(lake):
        version = current_version(lake)
        if version is None:
            raise NoEncoder(lake)
        if not all(lake.embeddings(level, version, batch).exists() for level in (LAYER, NETWORK)):
            raise NotEmbedded(f"batch {batch} has no embeddings by encoder {version}: materialize them first")
        database = connect(lake)
        _prepare(lake, database)
        if served_version(lake) in (None, version):
            return _upsert(lake, database, version, batch)
        waiting = len(set(lake.batches()) - embedded_batches(lake, version))
        if waiting:
            return IndexUpdate(0, 0, database.open_table(MODELS.name).count_rows(), waiting)
        return _replace(lake, database, version)


def batches_in_index(lake: Lake) -> dict[str, Settled]:
    """Batch → what it was indexed with, for all that the index holds in full."""
    if is_complete(lake) and not are_noted(lake):
        with writer_lock(lake):
            _prepare(lake, connect(lake))
    return settled_batches(lake)


def _prepare(lake: Lake, database: DBConnection) -> None:
    """Make the notes of what the index holds agree with its tables, where one of them is missing."""
    if not is_complete(lake):
        unsettle_all(lake)
    elif not are_noted(lake):
        _recognise(lake, database)


def _recognise(lake: Lake, database: DBConnection) -> None:
    """Settle what an earlier version of PEACE indexed, which kept no notes and had fewer columns."""
    for kind in (MODELS, LAYERS):
        table = database.open_table(kind.name)
        missing = [field for field in kind.columns if field.name not in table.schema.names]
        if kind.key in (field.name for field in missing):
            table.add_columns({LAYERS.key: LAYER_ID})
        if others := [field for field in missing if field.name != kind.key]:
            table.add_columns(others)
    version, rows = served_version(lake), indexed_models(lake)
    indexed = dict(zip(rows["model_id"].to_pylist(), rows["revision"].to_pylist(), strict=True))
    unsettle_all(lake)
    if version is not None:
        embedded, current = embedded_batches(lake, version), Current(lake)
        held = [batch for batch in embedded if _holds(current, version, batch, indexed)]
        settle(lake, _settled(lake, version, held))


def _settled(lake: Lake, version: str, batches: Iterable[str]) -> dict[str, Settled]:
    written = written_at(lake, version, batches)
    return {batch: Settled(version, reading(), time) for batch, time in written.items()}


def _holds(current: Current, version: str, batch: str, indexed: dict[str, str]) -> bool:
    """Whether the index, a revision for each model, holds what it has to hold of a batch."""
    wirings = current.lake.wirings(batch)
    if not (wirings.exists() and is_read_alike(wirings)):
        return False
    newest = current.newest(batch, _ID)
    kept = query(_KEPT, {"newest": newest}, **_files(current.lake, version, batch))
    expected = dict(zip(kept["model_id"].to_pylist(), kept["revision"].to_pylist(), strict=True))
    return expected == {name: indexed[name] for name in newest["model_id"].to_pylist() if name in indexed}


def reading() -> str:
    """How this version of PEACE reads checkpoints into layers."""
    return "".join(READING.values())


def _upsert(lake: Lake, database: DBConnection, version: str, batch: str) -> IndexUpdate:
    settled = _settled(lake, version, [batch])
    newest, dimensions = Current(lake).newest(batch, _ID), _dimensions(lake, version, batch)
    models, layers = _rows(lake, version, batch, newest)
    layer_table = open_or_create(database, LAYERS, dimensions[LAYER])
    model_table = open_or_create(database, MODELS, dimensions[NETWORK])
    upsert(layer_table, LAYERS, layers)
    upsert(model_table, MODELS, models)
    ids = newest["model_id"].to_pylist()
    gone = set(ids) - set(models["model_id"].to_pylist())
    deleted = _delete(model_table, MODELS, gone)
    _delete(layer_table, LAYERS, _layers_of(layer_table, ids) - set(layers[LAYERS.key].to_pylist()))
    for table, kind in ((layer_table, LAYERS), (model_table, MODELS)):
        maintain(table, kind)
    settle(lake, settled)
    return IndexUpdate(len(models), deleted, model_table.count_rows(), 0)


def _layers_of(table: Table, model_ids: list[str]) -> set[str]:
    found = table.search().where(is_in("model_id", model_ids)).select([LAYERS.key]).limit(None).to_arrow()
    return set(found[LAYERS.key].to_pylist())


def _delete(table: Table, kind: IndexTable, keys: set[str]) -> int:
    """Delete the rows of these keys; returns how many there were."""
    condition = is_in(kind.key, sorted(keys))
    count = table.count_rows(condition) if keys else 0
    if count:
        table.delete(condition)
    return count


def _replace(lake: Lake, database: DBConnection, version: str) -> IndexUpdate:
    settled = _settled(lake, version, embedded_batches(lake, version))
    dimensions = _dimensions(lake, version, next(iter(settled)))
    before, current = database.open_table(MODELS.name).count_rows(), Current(lake)

    def rows(kind: IndexTable) -> Iterator[pa.RecordBatch]:
        for batch in lake.batches():
            models, layers = _rows(lake, version, batch, current.newest(batch, _ID))
            yield from (models if kind is MODELS else layers).to_batches()

    replace(database, LAYERS, dimensions[LAYER], rows(LAYERS))
    after = replace(database, MODELS, dimensions[NETWORK], rows(MODELS)).count_rows()
    settle(lake, settled)
    return IndexUpdate(after, max(0, before - after), after, 0)


def _dimensions(lake: Lake, version: str, batch: str) -> dict[str, int]:
    """Level → size of its vectors."""
    paths = {level: lake.embeddings(level, version, batch) for level in (NETWORK, LAYER)}
    return {level: pq.read_schema(path).field("vector").type.list_size for level, path in paths.items()}


def _rows(lake: Lake, version: str, batch: str, newest: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Rows for ``models`` and ``layers`` of those of the ``newest`` models that the batch has embeddings of."""
    files = _files(lake, version, batch)
    models = query(_MODEL_ROWS, {"newest": newest}, inventory=lake.inventory(batch), **files)
    kept = models.select(["model_id", "revision"])
    layers = query(_LAYER_ROWS, {"kept": kept}, embeddings=lake.embeddings(LAYER, version, batch))
    dimensions = _dimensions(lake, version, batch)
    return models.cast(MODELS.schema(dimensions[NETWORK])), layers.cast(LAYERS.schema(dimensions[LAYER]))


def _files(lake: Lake, version: str, batch: str) -> dict[str, object]:
    embeddings = lake.embeddings(NETWORK, version, batch)
    return {"embeddings": embeddings, "zoo": lake.zoo(batch), "wirings": lake.wirings(batch)}

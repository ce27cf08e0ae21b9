"""The LanceDB tables ``models`` and ``layers``: upserted by key, one encoder version at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from peace_pipeline.encoder.store import NoEncoder, current_version
from peace_pipeline.lake import Lake
from peace_pipeline.lake.query import query
from peace_pipeline.stages.embed import LAYER, NETWORK, embedded_batches
from peace_pipeline.zoo.contents import CONTENTS
from peace_pipeline.zoo.current import NEWEST

if TYPE_CHECKING:
    from lancedb import DBConnection
    from lancedb.table import Table

MODELS, LAYERS = "models", "layers"
KEYS = {MODELS: ["model_id"], LAYERS: ["model_id", "layer"]}
_VECTOR_INDEX_ROWS = 50_000
"""Below this many rows an exact scan is faster than an approximate index is worth."""

_MODEL_ROWS = f"""
    WITH newest AS ({NEWEST})
    SELECT model_id, revision, source, task, datasets, architecture, library, license, wired.parameters, content,
           tags, card, metrics, encoder_version, embedded_at, vector
    FROM read_parquet($embeddings) e
    JOIN newest USING (model_id, revision)
    JOIN read_parquet($wirings) wired USING (model_id, revision)
    LEFT JOIN ({CONTENTS}) USING (model_id, revision)
    WHERE newest.status = 'new' AND wired.status = 'new'
    QUALIFY row_number() OVER (PARTITION BY model_id ORDER BY embedded_at DESC) = 1
"""
_LAYER_ROWS = f"""
    WITH newest AS ({NEWEST})
    SELECT model_id, revision, layer, name, kind, encoder_version, vector
    FROM read_parquet($embeddings) e JOIN newest USING (model_id, revision)
    WHERE newest.status = 'new'
    QUALIFY row_number() OVER (PARTITION BY model_id, layer) = 1
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


def connect(lake: Lake) -> DBConnection:
    """The lake's LanceDB database."""
    import lancedb

    return lancedb.connect(str(lake.index))


@contextmanager
def writer_lock(lake: Lake) -> Iterator[None]:
    """One writer at a time, over all processes of this machine."""
    from filelock import FileLock

    with FileLock(lake.root / ".index.lock"):
        yield


def update_index(lake: Lake, batch: str) -> IndexUpdate:
    """Bring the index up to date with a batch: upsert its networks, delete what is gone or skipped.

    After a retraining the index goes on serving the version it has until every batch is embedded by the new
    encoder; then each table is replaced by one merge, ``layers`` first and ``models`` last.

    Raises:
        NoEncoder: where the lake has none.
        NotEmbedded: where the current encoder has not embedded the batch.
    """
    with writer_lock(lake):
        version = current_version(lake)
        if version is None:
            raise NoEncoder(lake)
        if batch not in embedded_batches(lake, version):
            raise NotEmbedded(f"batch {batch} has no embeddings by encoder {version}: materialize them first")
        database = connect(lake)
        served = served_version(database)
        if served not in (None, version):
            waiting = len(set(lake.batches()) - embedded_batches(lake, version))
            if waiting:
                return IndexUpdate(0, 0, database.open_table(MODELS).count_rows(), waiting)
            return _replace(lake, database, version)
        return _upsert(lake, database, version, batch)


def served_version(database: DBConnection) -> str | None:
    """The encoder version of the rows in ``models``; ``None`` where there are none."""
    if MODELS not in table_names(database):
        return None
    rows = database.open_table(MODELS).search().select(["encoder_version"]).limit(1).to_list()
    return rows[0]["encoder_version"] if rows else None


def table_names(database: DBConnection) -> list[str]:
    """Names of the database's tables."""
    return list(database.list_tables().tables)


def indexed_models(lake: Lake) -> pa.Table:
    """``model_id``, ``revision``, ``encoder_version`` of every row in ``models``; none where a table is missing."""
    names = ["model_id", "revision", "encoder_version"]
    if not lake.index.exists() or not {MODELS, LAYERS} <= set(table_names(database := connect(lake))):
        return pa.table({name: pa.array([], pa.string()) for name in names})
    return database.open_table(MODELS).search().select(names).limit(None).to_arrow()


def _upsert(lake: Lake, database: DBConnection, version: str, batch: str) -> IndexUpdate:
    models, layers = _rows(lake, version, batch)
    gone = _absent(lake, batch, set(models["model_id"].to_pylist()))
    touched = [*gone, *models["model_id"].to_pylist()]
    layer_table, model_table = _table(database, LAYERS, layers), _table(database, MODELS, models)
    before = model_table.count_rows()
    _merge(layer_table, LAYERS, layers, _is_in(touched) if touched else None)
    _merge(model_table, MODELS, models, _is_in(gone) if gone else None)
    _maintain(layer_table, model_table)
    after = model_table.count_rows()
    return IndexUpdate(len(models), max(0, before - after), after, 0)


def _replace(lake: Lake, database: DBConnection, version: str) -> IndexUpdate:
    models, layers = _rows(lake, version, "[!.]*")
    layer_table, model_table = _table(database, LAYERS, layers), _table(database, MODELS, models)
    before = model_table.count_rows()
    _merge(layer_table, LAYERS, layers, "true")
    _merge(model_table, MODELS, models, "true")
    _maintain(layer_table, model_table)
    after = model_table.count_rows()
    return IndexUpdate(len(models), max(0, before - after), after, 0)


def _rows(lake: Lake, version: str, batch: str) -> tuple[pa.Table, pa.Table]:
    """Rows for ``models`` and ``layers`` of the current revisions in the embeddings of ``batch`` (or a pattern)."""
    zoo, wirings, inventory = lake.zoo("[!.]*"), lake.wirings(batch), lake.inventory(batch)
    networks, layers = lake.embeddings(NETWORK, version, batch), lake.embeddings(LAYER, version, batch)
    models = query(_MODEL_ROWS, zoo=zoo, wirings=wirings, inventory=inventory, embeddings=networks)
    return (
        _with_key(models, MODELS, networks),
        _with_key(query(_LAYER_ROWS, zoo=zoo, embeddings=layers), LAYERS, layers),
    )


def _with_key(table: pa.Table, name: str, embeddings: Any) -> pa.Table:
    """The rows with non-null key columns that carry LanceDB's unenforced primary key, and fixed-size vectors.

    Without the primary key, two concurrent merges can insert the same row twice.
    """
    import pyarrow.parquet as pq

    sample = next(iter(embeddings.parent.glob(embeddings.name)))
    vector = pq.read_schema(sample).field("vector").type
    fields = []
    for field in table.schema:
        if field.name in KEYS[name]:
            field = field.with_nullable(False).with_metadata({"lance-schema:unenforced-primary-key": "true"})
        elif field.name == "vector":
            field = pa.field("vector", vector, nullable=False)
        elif field.name == "metrics":
            field = pa.field("metrics", pa.list_(pa.struct([("name", pa.string()), ("value", pa.float64())])))
        fields.append(field)
    schema = pa.schema(fields)
    columns = [
        _metrics(table[field.name]) if field.name == "metrics" else table[field.name].cast(field.type)
        for field in schema
    ]
    return pa.table(columns, schema=schema)


def _metrics(column: pa.ChunkedArray) -> pa.Array:
    rows = [[{"name": k, "value": v} for k, v in row or ()] for row in column.to_pylist()]
    return pa.array(rows, pa.list_(pa.struct([("name", pa.string()), ("value", pa.float64())])))


def _absent(lake: Lake, batch: str, present: set[str]) -> list[str]:
    """Models of the batch that are not among its rows: deleted at their source, skipped, or superseded."""
    table = query("SELECT DISTINCT model_id FROM read_parquet($zoo)", zoo=lake.zoo(batch))
    missing = set(table["model_id"].to_pylist()) - present
    newest = query(f"SELECT model_id, batch FROM ({NEWEST})", zoo=lake.zoo("[!.]*"))
    owner = dict(zip(newest["model_id"].to_pylist(), newest["batch"].to_pylist(), strict=True))
    return sorted(model_id for model_id in missing if owner[model_id] == batch)


def _table(database: DBConnection, name: str, rows: pa.Table) -> Table:
    """The table of this name, with the columns of ``rows``."""
    if name not in table_names(database):
        return database.create_table(name, schema=rows.schema)
    table = database.open_table(name)
    if added := [field for field in rows.schema if field.name not in table.schema.names]:
        table.add_columns(added)
    return table


def _merge(table: Table, name: str, rows: pa.Table, delete: str | None) -> None:
    if not len(rows):
        if delete:
            table.delete(delete)
        return
    merge = table.merge_insert(KEYS[name]).when_matched_update_all().when_not_matched_insert_all()
    if delete:
        merge = merge.when_not_matched_by_source_delete(delete)
    merge.execute(rows)


def _is_in(model_ids: list[str]) -> str:
    return f"model_id IN ({', '.join(map(quoted, model_ids))})"


def quoted(text: str) -> str:
    """``text`` as an SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def _maintain(layers: Table, models: Table) -> None:
    """Create the indexes that are missing and fold new rows into those that exist."""
    from lancedb.index import FTS, BTree, IvfPq

    for table, scalars in ((layers, ["model_id"]), (models, ["model_id", "task", "architecture", "source"])):
        rows = table.count_rows()
        if not rows:
            continue
        have = {column for index in table.list_indices() for column in index.columns}
        for column in scalars:
            if column not in have:
                table.create_index(column, config=BTree())
        if rows >= _VECTOR_INDEX_ROWS and "vector" not in have:
            table.create_index("vector", config=IvfPq(distance_type="cosine"))
        if table is models and "card" not in have:
            table.create_index("card", config=FTS())
        table.optimize()

"""The LanceDB tables ``models`` and ``layers``: written by key, and kept fast. Loads neither torch nor Dagster."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from peace_pipeline.lake import Lake
from peace_pipeline.lake.keyed import is_in

if TYPE_CHECKING:
    from lancedb import DBConnection
    from lancedb.table import Table

EXACT_ROWS = 100_000
"""Up to so many rows every vector is compared: 60 ms at 128 dimensions on one core, and 1.2 s at a million, where the
approximate index takes 12 ms, and 100 ms where it has to be opened first."""

_STALE_SHARE, _FRAGMENTS = 0.1, 256
_GROWTH = 2


@dataclass(frozen=True)
class IndexTable:
    """A table of the index: rows are unique by ``key``; ``scalars`` and ``text`` are the indexed columns.

    The key is one column, because a merge looks up one column in its index and scans the table for more.
    """

    name: str
    key: str
    columns: pa.Schema
    scalars: tuple[str, ...] = ()
    text: str | None = None

    def schema(self, dimension: int) -> pa.Schema:
        """Of rows whose vectors have ``dimension``.

        The key is LanceDB's unenforced primary key: without it, two merges at once can insert the same row twice.
        """
        place = self.columns.get_field_index(self.key)
        marked = self.columns.field(place).with_metadata({"lance-schema:unenforced-primary-key": "true"})
        vector = pa.field("vector", pa.list_(pa.float32(), dimension), nullable=False)
        return self.columns.set(place, marked).append(vector)


def _required(name: str) -> pa.Field:
    return pa.field(name, pa.string(), nullable=False)


MODELS = IndexTable(
    "models",
    "model_id",
    pa.schema(
        [
            _required("model_id"),
            ("revision", pa.string()),
            ("source", pa.string()),
            ("task", pa.string()),
            ("datasets", pa.list_(pa.string())),
            ("architecture", pa.string()),
            ("library", pa.string()),
            ("license", pa.string()),
            ("parameters", pa.int64()),
            ("content", pa.string()),
            ("tags", pa.list_(pa.string())),
            ("card", pa.string()),
            ("metrics", pa.list_(pa.struct([("name", pa.string()), ("value", pa.float64())]))),
            ("encoder_version", pa.string()),
            ("embedded_at", pa.timestamp("us", tz="UTC")),
        ]
    ),
    scalars=("task", "architecture", "source"),
    text="card",
)
LAYERS = IndexTable(
    "layers",
    "layer_id",
    pa.schema(
        [
            _required("layer_id"),
            _required("model_id"),
            ("revision", pa.string()),
            pa.field("layer", pa.int32(), nullable=False),
            ("name", pa.string()),
            ("kind", pa.string()),
            ("encoder_version", pa.string()),
        ]
    ),
    scalars=("model_id",),
)
"""``layer_id`` is ``MODEL_ID#LAYER``."""
INDEX_TABLES = {table.name: table for table in (MODELS, LAYERS)}
LAYER_ID = "model_id || '#' || CAST(layer AS string)"


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


def table_names(database: DBConnection) -> set[str]:
    """Names of the database's tables."""
    return set(database.list_tables().tables)


def is_complete(lake: Lake) -> bool:
    """Whether both tables are there."""
    return lake.index.exists() and {MODELS.name, LAYERS.name} <= table_names(connect(lake))


def served_version(lake: Lake) -> str | None:
    """The encoder version of the rows in ``models``, looked up in one of them; ``None`` where there are none."""
    if not lake.index.exists() or MODELS.name not in table_names(database := connect(lake)):
        return None
    rows = database.open_table(MODELS.name).search().select(["encoder_version"]).limit(1).to_list()
    return rows[0]["encoder_version"] if rows else None


def indexed_models(lake: Lake, model_ids: Iterable[str] | None = None) -> pa.Table:
    """``model_id``, ``revision``, ``encoder_version`` of the rows in ``models`` (of ``model_ids``, looked up by key);
    none where there is no index.
    """
    names = ["model_id", "revision", "encoder_version"]
    if not lake.index.exists() or MODELS.name not in table_names(database := connect(lake)):
        return pa.table({name: pa.array([], pa.string()) for name in names})
    found = database.open_table(MODELS.name).search().select(names)
    if model_ids is not None:
        found = found.where(is_in("model_id", model_ids))
    return found.limit(None).to_arrow()


def open_or_create(database: DBConnection, kind: IndexTable, dimension: int) -> Table:
    """The table of this kind."""
    if kind.name not in table_names(database):
        return database.create_table(kind.name, schema=kind.schema(dimension))
    return database.open_table(kind.name)


def upsert(table: Table, kind: IndexTable, rows: pa.Table) -> None:
    """Insert ``rows``, or put them in the place of those of equal key; rows that are not touched are not read."""
    if len(rows):
        rows = rows.select(table.schema.names).cast(table.schema)
        table.merge_insert(kind.key).when_matched_update_all().when_not_matched_insert_all().execute(rows)


def replace(
    database: DBConnection, kind: IndexTable, dimension: int, rows: Iterator[pa.RecordBatch]
) -> Table:
    """All rows of a table by others, in one commit and batch by batch, so that memory doesn't grow with the table.

    The indexes of the rows before go with them and are built anew; until then a search compares every row, and one
    for words fails.
    """
    reader = pa.RecordBatchReader.from_batches(kind.schema(dimension), rows)
    table = database.create_table(kind.name, reader, mode="overwrite")
    maintain(table, kind)
    return table


def maintain(
    table: Table, kind: IndexTable, *, thoroughly: bool = False, exact_rows: int = EXACT_ROWS
) -> None:
    """Create the indexes that are missing, and fold new rows into those that exist once it pays.

    Folding rewrites indexes, which takes time in proportion to the table. So it waits until a tenth of the rows is
    new: then each new row costs as much in a large table as in a small one, and searches compare at most that tenth
    one by one. It also waits for 256 pieces that upserts have left, since each costs every later upsert .1 ms.
    ``thoroughly`` folds whatever there is. The approximate index is trained anew when the table has doubled.
    """
    rows = table.count_rows()
    if not rows:
        return
    _index_columns(table, kind)
    indexes = table.list_indices()
    unindexed = max(index.num_unindexed_rows or 0 for index in indexes)
    fragments = table.stats()["fragment_stats"]["num_fragments"] - rows // 2**20
    if unindexed > _STALE_SHARE * rows or fragments > _FRAGMENTS or (thoroughly and unindexed):
        table.optimize()
    _index_vectors(table, rows, exact_rows)


def _index_columns(table: Table, kind: IndexTable) -> None:
    from lancedb.index import FTS, BTree

    have = {column for index in table.list_indices() for column in index.columns}
    for column in {kind.key, *kind.scalars} - have:
        table.create_index(column, config=BTree())
    if kind.text and kind.text not in have:
        table.create_index(kind.text, config=FTS())


def _index_vectors(table: Table, rows: int, exact_rows: int) -> None:
    """The index is named after the number of rows that its centroids were made from (earlier: ``vector_idx``)."""
    from lancedb.index import IvfRq

    counts = {index.name: index.name.rpartition("_")[2] for index in _vector_indexes(table)}
    trained = {name: int(count) if count.isdecimal() else 0 for name, count in counts.items()}
    if rows > exact_rows and rows > _GROWTH * max(trained.values(), default=0):
        table.create_index("vector", config=IvfRq(distance_type="cosine"), name=f"vector_{rows}")
        for name in trained:
            table.drop_index(name)


def _vector_indexes(table: Table) -> list[Any]:
    return [index for index in table.list_indices() if index.columns == ["vector"]]

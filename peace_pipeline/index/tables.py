"""The LanceDB tables ``models``, ``layers``, ``outputs``: written by key, kept fast. Loads no torch and no Dagster."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from peace_pipeline.lake import Lake, lance
from peace_pipeline.lake.keyed import is_in
from peace_pipeline.lake.locks import alone
from peace_pipeline.lake.tables import VECTORS, sized
from peace_pipeline.progress import track

if TYPE_CHECKING:
    from lancedb import DBConnection
    from lancedb.table import Table

EXACT_ROWS = 100_000
"""Up to so many rows every vector is compared: 60 ms at 128 dimensions on one core, and 1.2 s at a million, where the
approximate index takes 12 ms, and 100 ms where it has to be opened first."""

_NULLS = "null"
"""Vectors may be null; LanceDB refuses them otherwise."""
_STALE_SHARE, _FRAGMENTS = 0.1, 256
_GROWTH = 2


@dataclass(frozen=True)
class IndexTable:
    """A table of the index: rows are unique by ``key``; ``scalars`` are indexed by value and ``texts`` by words.

    The key is one column, because a merge looks up one column in its index and scans the table for more.
    """

    name: str
    key: str
    columns: pa.Schema
    scalars: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()

    @property
    def vectors(self) -> list[str]:
        """The columns by which rows are nearest to others."""
        return [name for name in VECTORS if name in self.columns.names]

    def schema(self, sizes: Mapping[str, int]) -> pa.Schema:
        """Of rows whose vectors have these ``sizes``, by column.

        The key is LanceDB's unenforced primary key: without it, two merges at once can insert the same row twice.
        """
        place = self.columns.get_field_index(self.key)
        marked = self.columns.field(place).with_metadata({"lance-schema:unenforced-primary-key": "true"})
        return sized(self.columns.set(place, marked), sizes)


def _required(name: str, kind: pa.DataType | None = None) -> pa.Field:
    return pa.field(name, kind or pa.string(), nullable=False)


_VECTOR = pa.list_(pa.float32())


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
            ("run_by", pa.string()),
            _required("vector", _VECTOR),
            _required("weights", _VECTOR),
            ("responses", _VECTOR),
        ]
    ),
    scalars=("task", "architecture", "source"),
    texts=("model_id", "task", "datasets", "architecture", "library", "tags", "card"),
)
LAYERS = IndexTable(
    "layers",
    "layer_id",
    pa.schema(
        [
            _required("layer_id"),
            _required("model_id"),
            ("revision", pa.string()),
            _required("layer", pa.int32()),
            ("name", pa.string()),
            ("kind", pa.string()),
            ("encoder_version", pa.string()),
            _required("vector", _VECTOR),
        ]
    ),
    scalars=("model_id",),
)
"""``layer_id`` is ``MODEL_ID#LAYER``."""
OUTPUTS = IndexTable(
    "outputs",
    "output_id",
    pa.schema(
        [
            _required("output_id"),
            _required("model_id"),
            ("revision", pa.string()),
            _required("place", pa.int32()),
            ("label", pa.string()),
            ("encoder_version", pa.string()),
            _required("vector", _VECTOR),
        ]
    ),
    scalars=("model_id",),
    texts=("label",),
)
"""``output_id`` is ``MODEL_ID#PLACE``; only networks that were run have outputs."""
INDEX_TABLES = {table.name: table for table in (OUTPUTS, LAYERS, MODELS)}
"""In the order in which they are written: whoever finds a model finds its layers and outputs."""


def connect(lake: Lake) -> DBConnection:
    """The lake's LanceDB database."""
    return lance.connect(lake.index)


@contextmanager
def writer_lock(lake: Lake) -> Iterator[None]:
    """One writer at a time, over all processes of this machine."""
    with alone(lake.root / ".index.lock", "write to the index", track("Indexing")):
        yield


def table_names(database: DBConnection) -> set[str]:
    """Names of the database's tables."""
    return set(database.list_tables().tables)


def is_complete(lake: Lake) -> bool:
    """Whether all tables are there, with all their columns."""
    return (
        lake.index.exists()
        and INDEX_TABLES.keys() <= table_names(connect(lake))
        and not is_of_earlier_layout(lake)
    )


def is_of_earlier_layout(lake: Lake) -> bool:
    """Whether an earlier version of PEACE wrote the index: a table of it lacks columns."""
    if not lake.index.exists():
        return False
    database = connect(lake)
    there = table_names(database) & INDEX_TABLES.keys()
    return any(not set(INDEX_TABLES[name].columns.names) <= _columns(database, name) for name in there)


def _columns(database: DBConnection, name: str) -> set[str]:
    return set(database.open_table(name).schema.names)


def is_outdated(lake: Lake, version: str) -> bool:
    """Whether the index is to be replaced as a whole: it serves another encoder, or is of an earlier layout."""
    return served_version(lake) not in (None, version) or is_of_earlier_layout(lake)


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


def open_or_create(database: DBConnection, kind: IndexTable, sizes: Mapping[str, int]) -> Table:
    """The table of this kind, with vectors of these ``sizes``."""
    if kind.name not in table_names(database):
        return database.create_table(kind.name, schema=kind.schema(sizes))
    return database.open_table(kind.name)


def upsert(table: Table, kind: IndexTable, rows: pa.Table) -> None:
    """Insert ``rows``, or put them in the place of those of equal key; rows that are not touched are not read."""
    if len(rows):
        rows = rows.select(table.schema.names).cast(table.schema)
        merge = table.merge_insert(kind.key).when_matched_update_all().when_not_matched_insert_all()
        merge.execute(rows, on_bad_vectors=_NULLS)


def replace(
    database: DBConnection, kind: IndexTable, sizes: Mapping[str, int], rows: Iterator[pa.RecordBatch]
) -> Table:
    """All rows of a table by others, in one commit and batch by batch, so that memory doesn't grow with the table.

    The indexes of the rows before go with them and are built anew; until then a search compares every row, and one
    for words fails.
    """
    reader = pa.RecordBatchReader.from_batches(kind.schema(sizes), rows)
    mode = "overwrite" if kind.name in table_names(database) else "create"
    table = database.create_table(kind.name, reader, mode=mode, on_bad_vectors=_NULLS)
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
    for column in kind.vectors:
        _index_vectors(table, column, exact_rows)


def _index_columns(table: Table, kind: IndexTable) -> None:
    from lancedb.index import FTS, BTree

    have = {column for index in _indexes(table, words=False) for column in index.columns}
    for column in {kind.key, *kind.scalars} - have:
        table.create_index(column, config=BTree())
    for column in set(kind.texts) - set(worded(table, kind)):
        table.create_index(column, config=FTS(), name=f"{column}_words")


def worded(table: Table, kind: IndexTable) -> list[str]:
    """The columns that are indexed by words; an index that an earlier version of PEACE wrote may have fewer."""
    have = {column for index in _indexes(table, words=True) for column in index.columns}
    return [column for column in kind.texts if column in have]


def _indexes(table: Table, *, words: bool) -> list[Any]:
    return [index for index in table.list_indices() if (index.index_type == "FTS") == words]


def _index_vectors(table: Table, column: str, exact_rows: int) -> None:
    """The index is named after the number of rows that its centroids were made from (earlier: ``vector_idx``)."""
    from lancedb.index import IvfRq

    rows = table.count_rows(f"{column} IS NOT NULL")
    counts = {index.name: index.name.rpartition("_")[2] for index in _vector_indexes(table, column)}
    trained = {name: int(count) if count.isdecimal() else 0 for name, count in counts.items()}
    if rows > exact_rows and rows > _GROWTH * max(trained.values(), default=0):
        table.create_index(column, config=IvfRq(distance_type="cosine"), name=f"{column}_{rows}")
        for name in trained:
            table.drop_index(name)


def _vector_indexes(table: Table, column: str) -> list[Any]:
    return [index for index in table.list_indices() if index.columns == [column]]

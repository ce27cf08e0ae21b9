"""Keyed tables: LanceDB tables of rows that a text names, for what has to be looked up without reading everything."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from peace_pipeline.lake.lance import connect

if TYPE_CHECKING:
    from lancedb import DBConnection
    from lancedb.table import Table

_IDS_A_LOOKUP = 1000
_ROWS_A_BATCH = 8192
_MOST_FILES, _MOST_UNINDEXED = 100, 1000
"""So many small files, and rows outside the index, cost a look-up little in a table of any size."""


class KeyedTable:
    """The rows under ``folder``/``name``.lance, one a value of the column ``key``; looked up by it and by ``others``.

    It comes into being with the first rows; until then it is empty. Every read sees what was committed before it, and
    every write is one commit. Writers take turns: who writes holds a lock.
    """

    def __init__(
        self, folder: Path, name: str, schema: pa.Schema, key: str, others: tuple[str, ...] = ()
    ) -> None:
        self.folder, self.name, self.key, self.others = folder, name, key, others
        position = schema.get_field_index(key)
        marked = pa.field(
            key, pa.string(), nullable=False, metadata={"lance-schema:unenforced-primary-key": "true"}
        )
        self.schema = schema.set(position, marked)

    @property
    def exists(self) -> bool:
        """Whether rows were ever committed."""
        return any((self.folder / f"{self.name}.lance").glob("_versions/*.manifest"))

    def create(self, rows: Iterable[pa.RecordBatch]) -> None:
        """Make the table of these rows, in one commit and one batch in memory at a time."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._database.create_table(self.name, pa.RecordBatchReader.from_batches(self.schema, rows))
        self.maintain()

    def merge(self, rows: pa.Table, *, where: str | None = None) -> None:
        """Put rows in the place of those of their key for which ``where`` (SQL over ``source``, ``target``) holds."""
        if not self.exists:
            return self.create(rows.cast(self.schema).to_batches())
        if len(rows):
            merge = self._table.merge_insert(self.key).when_matched_update_all(where=where)
            merge.when_not_matched_insert_all().execute(rows.cast(self.schema))
            self.maintain()
        return None

    def delete(self, keys: Iterable[str]) -> None:
        """Delete the rows of these keys."""
        for some in _parts(keys) if self.exists else ():
            self._table.delete(is_in(self.key, some))

    def rows(
        self, values: Iterable[str], columns: list[str] | None = None, *, by: str | None = None
    ) -> pa.Table:
        """The rows of which the key (or the column ``by``) is one of ``values``; costs what they cost."""
        found = [
            batch for some in _parts(values) for batch in self.scan(columns, is_in(by or self.key, some))
        ]
        return pa.Table.from_batches(found, self._columns(columns))

    def scan(self, columns: list[str] | None = None, where: str | None = None) -> Iterator[pa.RecordBatch]:
        """All rows for which ``where`` (SQL) holds, in no order, a few thousand in memory at a time."""
        if not self.exists:
            return
        schema = self._columns(columns)
        found = self._table.search().select(schema.names).limit(None)
        if where:
            found = found.where(where)
        for batch in found.to_batches(_ROWS_A_BATCH):
            yield batch.select(schema.names).cast(schema)

    def count(self, where: str | None = None) -> int:
        """How many rows there are for which ``where`` holds."""
        return self._table.count_rows(where) if self.exists else 0

    def maintain(self, *, share: float = 0.1) -> None:
        """Index what is looked up, and bring new rows into files and indexes where they are more than a ``share`` of
        all: so all updates together cost a multiple of the rows that they brought.
        """
        from lancedb.index import BTree

        table = self._table
        stats = table.stats()
        rows, files = stats["num_rows"], stats["fragment_stats"]["num_small_fragments"]
        indexed = {column: index.name for index in table.list_indices() for column in index.columns}
        for column in {self.key, *self.others} - indexed.keys() if rows > _MOST_UNINDEXED else ():
            table.create_index(column, config=BTree())
        found = table.index_stats(indexed[self.key]) if self.key in indexed else None
        unindexed = found.num_unindexed_rows if found else 0
        if files > _MOST_FILES or unindexed > max(_MOST_UNINDEXED, share * rows):
            table.optimize()

    @cached_property
    def _database(self) -> DBConnection:
        return connect(self.folder, timedelta(0))

    @cached_property
    def _table(self) -> Table:
        return self._database.open_table(self.name)

    def _columns(self, names: list[str] | None) -> pa.Schema:
        return pa.schema([self.schema.field(name) for name in names or self.schema.names])


def _parts(values: Iterable[str]) -> Iterator[list[str]]:
    distinct = list(dict.fromkeys(values))
    for start in range(0, len(distinct), _IDS_A_LOOKUP):
        yield distinct[start : start + _IDS_A_LOOKUP]


def is_in(column: str, values: Iterable[str]) -> str:
    """An SQL condition: ``column`` is one of ``values``."""
    listed = ", ".join(map(quoted, values))
    return f"{column} IN ({listed})" if listed else "false"


def quoted(text: str) -> str:
    """``text`` as an SQL string literal."""
    return "'" + text.replace("'", "''") + "'"

"""What models hold, as hashes of their tensors: which ones are copies of each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from peace_pipeline.lake import Lake
from peace_pipeline.lake.keyed import KeyedTable
from peace_pipeline.lake.query import query
from peace_pipeline.zoo.current import Current, writing

_SCHEMA = pa.schema([(name, pa.string()) for name in ("model_id", "revision", "content")])

_COPIES = """
    SELECT list(model_id ORDER BY model_id) AS copies
    FROM contents JOIN newest USING (model_id, revision)
    WHERE status = 'new'
    GROUP BY content
    HAVING count(*) > 1 AND bool_or(batch = $batch)
    ORDER BY copies
"""


class Contents:
    """The content of every model's newest revision that was extracted, looked up by model and by content."""

    def __init__(self, lake: Lake) -> None:
        self.current = Current(lake)
        self.table = KeyedTable(lake.current, "contents", _SCHEMA, key="model_id", others=("content",))
        if not self.table.exists:
            with writing(lake):
                if not self.table.exists:
                    self.table.create(self._stored())

    def put(self, batch: str, rows: Iterable[dict[str, Any]]) -> None:
        """Take in the rows of a batch's inventory; to be done before it is stored, as nobody would do it later."""
        found = pa.Table.from_pylist([row for row in rows if row.get("content")], schema=_SCHEMA)
        with writing(self.current.lake):
            self.table.merge(self._newest(batch, found))

    def copies(self, batch: str) -> list[list[str]]:
        """Models of equal tensors, byte by byte, that a batch's inventory shows: each group has one of the batch."""
        hashes = _of_inventory(self.current.lake, batch)["content"].to_pylist()
        contents = self.table.rows(hashes, by="content")
        columns = ["model_id", "revision", "status", "batch"]
        newest = self.current.rows(contents["model_id"].to_pylist(), columns)
        found = query(_COPIES, {"contents": contents, "newest": newest}, batch=batch)
        return found["copies"].to_pylist()

    def _newest(self, batch: str, contents: pa.Table) -> pa.Table:
        newest = self.current.newest(batch, ["model_id"])["model_id"]
        return contents.filter(pc.is_in(contents["model_id"], newest))

    def _stored(self) -> Iterator[pa.RecordBatch]:
        """What the inventories of a lake say that has no such table yet."""
        for batch in self.current.batches():
            if self.current.lake.inventory(batch).exists():
                found = self._newest(batch, _of_inventory(self.current.lake, batch))
                yield from found.cast(self.table.schema).to_batches()


def _of_inventory(lake: Lake, batch: str) -> pa.Table:
    """Model, revision and content of what a batch's inventory has read; an older one names no contents."""
    path = lake.inventory(batch)
    if "content" not in pq.read_schema(path).names:
        return _SCHEMA.empty_table()
    return pq.read_table(path, columns=_SCHEMA.names, filters=pc.field("content").is_valid()).cast(_SCHEMA)

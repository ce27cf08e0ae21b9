"""The current state of the zoo: the newest record of every model, with the batch that it stands in.

It is folded from the batches in the order of their names, each right after it is stored; what a killed process left
unfolded, and all batches of a lake that has no state yet, are folded by whoever opens the state next. Which batch is
newest is thus decided once, and what an answer costs depends on what is asked for, not on how many models there are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from peace_pipeline.lake import Lake, atomic
from peace_pipeline.lake.keyed import KeyedTable
from peace_pipeline.lake.tables import MODEL_RECORDS
from peace_pipeline.zoo.record import ModelRecord, from_table

SCHEMA = MODEL_RECORDS.schema.append(pa.field("batch", pa.string(), nullable=False))


class Current:
    """The newest record of every model ever crawled, deleted and skipped ones too; opening it folds what is missing.

    Columns are those of model records, and ``batch``. Every answer is of the moment when it is asked for::

        current = Current(lake)
        current.batches()                                     # batches of which the state knows, oldest first
        current.rows(["a/b", "c/d"], ["model_id", "status"])  # costs what these models cost
        current.newest(batch, ["model_id", "revision"])       # rows of a batch that no later one supersedes
        for rows in current.scan(["model_id"], "status = 'new'"): ...

    Raises:
        OSError: where the lake can't be written and has batches that are not folded.
    """

    def __init__(self, lake: Lake) -> None:
        self.lake = lake
        self.models = KeyedTable(lake.current, "models", SCHEMA, key="model_id")
        self.fold()

    def batches(self) -> list[str]:
        """Names of the batches that are folded, oldest first."""
        last = self._folded()
        return [batch for batch in self.lake.batches() if batch <= last]

    def rows(self, model_ids: Iterable[str], columns: list[str] | None = None) -> pa.Table:
        """The newest records of these models, as far as they are known; costs what they cost."""
        return self.models.rows(model_ids, columns)

    def scan(self, columns: list[str] | None = None, where: str | None = None) -> Iterator[pa.RecordBatch]:
        """The newest records for which ``where`` (SQL over the columns) holds, a few thousand in memory at a time."""
        return self.models.scan(columns, where)

    def newest(self, batch: str, columns: list[str] | None = None) -> pa.Table:
        """The rows of a batch that no later batch supersedes; costs what the batch costs."""
        names = columns or SCHEMA.names
        stored = pq.read_table(self.lake.zoo(batch), columns=["model_id"])["model_id"].to_pylist()
        rows = self.rows(stored, list(dict.fromkeys([*names, "batch"])))
        return rows.filter(pc.equal(rows["batch"], batch)).select(names)

    def records(self, model_ids: Iterable[str] | None = None) -> dict[str, ModelRecord]:
        """The newest records of these models, or of all, by model id."""
        names = MODEL_RECORDS.schema.names
        found = self.scan(names) if model_ids is None else self.rows(model_ids, names).to_batches()
        return {record.model_id: record for rows in found for record in from_table(rows)}

    def count(self, where: str | None = None) -> int:
        """How many models there are for which ``where`` holds."""
        return self.models.count(where)

    def fold(self) -> None:
        """Fold every batch that is stored and not folded yet, one in memory at a time."""
        if not self._is_behind():
            return
        with writing(self.lake):
            begun = not self._folded()
            for batch in sorted(batch for batch in self.lake.batches() if batch > self._folded()):
                self._fold(batch)
            if begun:
                self.models.maintain(discard=True)

    def _fold(self, batch: str) -> None:
        """Put the batch's records in the place of older ones; done twice, it changes nothing."""
        rows = pq.read_table(self.lake.zoo(batch)).select(MODEL_RECORDS.schema.names)
        rows = rows.append_column("batch", pa.array([batch] * len(rows), pa.string()))
        self.models.merge(rows, where="target.batch < source.batch")
        with atomic(self._mark) as temporary:
            temporary.write_text(batch)

    @property
    def _mark(self) -> Path:
        return self.lake.current / "folded"

    def _folded(self) -> str:
        """The last batch that is folded; an empty text where none is."""
        try:
            return self._mark.read_text()
        except FileNotFoundError:
            return ""

    def _is_behind(self) -> bool:
        return max(self.lake.batches(), default="") > self._folded()


@contextmanager
def writing(lake: Lake) -> Iterator[None]:
    """One writer of the tables that follow from batches at a time, over all processes of this machine."""
    from filelock import FileLock

    with FileLock(lake.root / ".current.lock"):
        yield

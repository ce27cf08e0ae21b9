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
    """The newest record of every model ever crawled, deleted and skipped ones too; opening it folds what is missing,
    unless ``fold`` is false.

    Columns are those of model records, and ``batch``. Every answer is of the moment when it is asked for::

        current = Current(lake)
        current.batches()                                     # batches of which the state knows, oldest first
        current.rows(["a/b", "c/d"], ["model_id", "status"])  # costs what these models cost
        current.newest(batch, ["model_id", "revision"])       # rows of a batch that no later one supersedes
        for rows in current.scan(["model_id"], "status = 'new'"): ...

    Raises:
        OSError: where the lake can't be written and has batches that are not folded.
    """

    def __init__(self, lake: Lake, *, fold: bool = True) -> None:
        self.lake = lake
        self.models = KeyedTable(lake.current, "models", SCHEMA, key="model_id")
        if fold:
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
        if not self.waiting():
            return
        with writing(self.lake):
            waiting = self.waiting()
            if not self.models.exists:
                self.models.create(self._newest_of(waiting))
                self._note(waiting[-1])
            for batch in self.waiting():
                # Rows of the same batch stay: what a killed process folded and did not note is folded again.
                self.models.merge(self.stored(batch), where="target.batch < source.batch")
                self._note(batch)

    def _newest_of(self, batches: list[str]) -> Iterator[pa.RecordBatch]:
        """The newest rows among batches, from the last batch to the first; what stays in memory are ids."""
        seen: set[str] = set()
        for batch in reversed(batches):
            rows = self.stored(batch)
            ids = rows["model_id"].to_pylist()
            yield from rows.filter(pa.array([name not in seen for name in ids], pa.bool_())).to_batches()
            seen.update(ids)

    def stored(self, batch: str, filters: pc.Expression | None = None) -> pa.Table:
        """The rows of a batch, folded or not, in the columns of this state."""
        rows = pq.read_table(self.lake.zoo(batch), filters=filters).select(MODEL_RECORDS.schema.names)
        return rows.append_column("batch", pa.array([batch] * len(rows), pa.string())).cast(
            self.models.schema
        )

    def waiting(self) -> list[str]:
        """Batches that are stored and not folded, oldest first."""
        last = self._folded()
        return [batch for batch in self.lake.batches() if batch > last]

    @property
    def _mark(self) -> Path:
        return self.lake.current / "folded"

    def _folded(self) -> str:
        """The last batch that is folded; an empty text where none is."""
        return self._mark.read_text() if self._mark.exists() and self.models.exists else ""

    def _note(self, batch: str) -> None:
        with atomic(self._mark) as temporary:
            temporary.write_text(batch)


def newest_record(lake: Lake, model_id: str) -> ModelRecord | None:
    """The newest record of one model. Nothing is folded for it, so a lake that can't be written will do."""
    rows = _newest_row(lake, model_id)
    return from_table(rows.select(MODEL_RECORDS.schema.names))[0] if len(rows) else None


def newest_batch(lake: Lake, model_id: str) -> str | None:
    """The batch in which the newest record of one model stands; nothing is folded for it either."""
    rows = _newest_row(lake, model_id)
    return rows["batch"][0].as_py() if len(rows) else None


def _newest_row(lake: Lake, model_id: str) -> pa.Table:
    current = Current(lake, fold=False)
    for batch in reversed(current.waiting()):
        if len(found := current.stored(batch, pc.field("model_id") == model_id)):
            return found.slice(len(found) - 1)
    return current.rows([model_id])


@contextmanager
def writing(lake: Lake) -> Iterator[None]:
    """One writer of the tables that follow from batches at a time, over all processes of this machine."""
    from filelock import FileLock

    with FileLock(lake.current.resolve().parent / ".current.lock"):  # lakes may share a state
        yield

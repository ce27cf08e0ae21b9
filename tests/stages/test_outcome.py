"""What a stage made of a model: done, skipped with a reason, or passing with one."""

from __future__ import annotations

import errno
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from peace_pipeline.lake.tables import WIRINGS
from peace_pipeline.stages.outcome import BatchOutcome, Row, row_of, skipped_in
from peace_pipeline.weights.errors import CorruptFile
from peace_pipeline.zoo.record import ModelRecord
from peace_pipeline.zoo.source import FetchError

RECORD = ModelRecord("directory", "m", "r", "file:///m")


def row(error: Exception | None = None) -> Row:
    def work() -> Row:
        if error:
            raise error
        return {"method": "chain"}

    return row_of(RECORD, work)


def test_a_model_is_done_skipped_or_passing() -> None:
    key = {"model_id": "m", "revision": "r"}
    assert row() == key | {"method": "chain", "status": "new", "reason": None, "passing": False}
    broken = row(CorruptFile("broken"))
    assert broken == key | {"status": "skipped", "reason": "broken", "passing": False}
    assert row(FetchError("busy", passing=True)) == broken | {"reason": "busy", "passing": True}
    assert BatchOutcome.of([row(), row(), broken]) == BatchOutcome(2, 1)


def test_a_full_disk_ends_the_stage() -> None:
    with pytest.raises(OSError, match="No space left"):
        row(OSError(errno.ENOSPC, "No space left on device"))


def test_a_table_says_what_was_skipped(tmp_path: Path) -> None:
    rows = [row(), row(CorruptFile("broken"))]
    pq.write_table(pa.Table.from_pylist(rows, schema=WIRINGS.schema), tmp_path / "t.parquet")
    assert skipped_in(tmp_path / "t.parquet") == [{"model_id": "m", "reason": "broken"}]

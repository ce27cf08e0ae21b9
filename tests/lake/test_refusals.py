"""Disks that refuse: real ones, small and read-only, as far as this machine lets a test mount them."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path

import lancedb
import numpy as np
import pyarrow as pa
import pytest

from peace_pipeline.lake import write_parquet
from peace_pipeline.lake.refusals import refusal
from tests.disks import disk, make_read_only

__all__ = ["disk"]
LARGE = pa.table({"values": pa.array(np.random.default_rng(0).integers(1 << 62, size=1 << 18))})


def test_a_full_disk(disk: Path) -> None:
    with pytest.raises(OSError, match="No space left") as raised:
        write_parquet(LARGE, disk / "zoo" / "batch.parquet")
    assert "disk" in str(refusal(raised.value))
    assert list((disk / "zoo").iterdir()) == []


def test_a_full_disk_in_the_words_of_lance_and_sqlite(disk: Path) -> None:
    with pytest.raises(Exception, match="No space left") as raised:
        lancedb.connect(disk).create_table("models", LARGE)
    assert refusal(raised.value) == "the disk of the lake is full"
    database = sqlite3.connect(disk / "runs.db")
    database.execute("CREATE TABLE runs (body BLOB)")
    with pytest.raises(sqlite3.OperationalError) as failed:
        database.execute("INSERT INTO runs VALUES (zeroblob(10000000))")
    assert refusal(failed.value) == "the disk of the lake is full"
    database.close()


def test_a_read_only_disk(disk: Path) -> None:
    make_read_only(disk)
    with pytest.raises(OSError, match="Read-only") as raised:
        write_parquet(LARGE, disk / "zoo" / "batch.parquet")
    assert refusal(raised.value) == f"{disk} is read-only"


def test_a_refusal_behind_another_error(tmp_path: Path) -> None:
    error = ValueError("no models")
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "zoo" / "batch"))
    assert refusal(error) == f"the disk of {tmp_path} is full"
    assert refusal(PermissionError(errno.EACCES, "Permission denied", str(tmp_path))) == (
        f"no permission to use {tmp_path}"
    )


def test_other_errors_are_none() -> None:
    assert refusal(ValueError("no models")) is None
    assert refusal(FileNotFoundError(errno.ENOENT, "No such file", "x")) is None

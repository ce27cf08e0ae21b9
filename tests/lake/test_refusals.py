"""Disks that refuse: real ones, small and read-only, as far as this machine lets a test mount them."""

from __future__ import annotations

import errno
import os
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
    assert str(refusal(raised.value)).partition(": ")[0].endswith(" is full")
    assert list((disk / "zoo").iterdir()) == []


def test_a_full_disk_in_the_words_of_lance_and_sqlite(disk: Path) -> None:
    with pytest.raises(Exception, match="No space left") as raised:
        lancedb.connect(disk).create_table("models", LARGE)
    assert str(refusal(raised.value)).startswith("the disk of the lake is full: make room")
    database = sqlite3.connect(disk / "runs.db")
    database.execute("CREATE TABLE runs (body BLOB)")
    with pytest.raises(sqlite3.OperationalError) as failed:
        database.execute("INSERT INTO runs VALUES (zeroblob(10000000))")
    assert str(refusal(failed.value)).startswith("the disk of the lake is full: make room")
    database.close()


def test_a_read_only_disk(disk: Path) -> None:
    make_read_only(disk)
    with pytest.raises(OSError, match="Read-only") as raised:
        write_parquet(LARGE, disk / "zoo" / "batch.parquet")
    assert refusal(raised.value) == f"{disk} is read-only"


def test_a_refusal_behind_another_error(tmp_path: Path) -> None:
    error = ValueError("no models")
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "zoo" / "batch"))
    assert str(refusal(error)).startswith(f"the disk of {tmp_path} is full: make room")
    assert refusal(PermissionError(errno.EACCES, "Permission denied", str(tmp_path))) == (
        f"no permission to use {tmp_path}"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user for a while")
def test_a_folder_that_we_may_not_look_into(tmp_path: Path) -> None:
    (tmp_path / "zoo").mkdir()
    tmp_path.chmod(0o700)
    os.seteuid(65534)
    try:
        with pytest.raises(PermissionError) as raised:
            (tmp_path / "zoo" / "batch").read_bytes()
        assert str(refusal(raised.value)).startswith("no permission to use /")
    finally:
        os.seteuid(0)


def test_other_errors_are_none() -> None:
    assert refusal(ValueError("no models")) is None
    assert refusal(FileNotFoundError(errno.ENOENT, "No such file", "x")) is None

"""Files of the lake are written whole or not at all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

from peace_pipeline.lake import Lake, atomic, write_parquet


def test_a_written_file_replaces_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "file.txt"
    for text in ("old", "new"):
        with atomic(target) as temporary:
            temporary.write_text(text)
            assert temporary.parent == target.parent
    assert target.read_text() == "new"
    assert list(target.parent.iterdir()) == [target]
    assert target.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "file.txt"
    target.write_text("old")

    def fail() -> None:
        with atomic(target) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        fail()
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_table_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="unknown_option"):
        write_parquet(pa.table({"a": [1]}), tmp_path / "t.parquet", unknown_option=1)
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from peace_pipeline.lake import Lake, atomic
lake = Lake.open(sys.argv[1])
with atomic(lake.zoo("20260101T000000000000")) as temporary:
    temporary.write_bytes(b"PAR1 half of a table")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_writer_leaves_no_batch(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], timeout=60, check=False)
    assert done.returncode == -9
    lake = Lake.open(tmp_path)
    assert len(list((tmp_path / "zoo").iterdir())) == 1, "the kill came in the middle of the write"
    assert lake.batches() == []
    with atomic(lake.zoo("20260101T000000000000")) as temporary:
        temporary.write_bytes(b"whole")
    assert lake.batches() == ["20260101T000000000000"]


def test_where_the_lake_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PEACE_HOME", raising=False)
    assert Lake.open().root == tmp_path / ".peace"
    monkeypatch.setenv("PEACE_HOME", str(tmp_path / "from environment"))
    assert Lake.open().root == tmp_path / "from environment"
    assert Lake.open("given").root == tmp_path / "given"
    assert (tmp_path / "given").is_dir()


def test_batches_are_listed_oldest_first(lake: Lake) -> None:
    names = ["20260102T000000000000", "20251231T235959999999", "20260102T000000000001"]
    for name in names:
        write_parquet(pa.table({"a": [1]}), lake.zoo(name))
    assert lake.batches() == sorted(names)

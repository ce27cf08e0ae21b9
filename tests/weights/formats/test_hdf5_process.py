"""The reader of HDF5 in a process of its own: bounded, replaced when it dies, gone with who asked."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

import pytest
import torch

from peace_pipeline.weights.checkpoint import open_checkpoint
from peace_pipeline.weights.errors import (
    CorruptFile,
    UnreadableCheckpoint,
)
from peace_pipeline.weights.formats import hdf5_process
from tests.weights.formats.hdf5_files import MATRIX, children, helper, new, read_all


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def ended(*pids: int) -> bool:
    for _ in range(100):
        if not any(map(is_running, pids)):
            return True
        time.sleep(0.05)
    return False


@pytest.fixture
def good(tmp_path: Path) -> Path:
    with new(tmp_path / "good.h5") as file:
        file["w"] = MATRIX
    return tmp_path / "good.h5"


def test_a_reader_that_dies_makes_its_file_corrupt_and_no_other(good: Path) -> None:
    with open_checkpoint([good]) as first, open_checkpoint([good]) as second:
        reader, _ = children(helper())
        os.kill(reader, signal.SIGKILL)
        with pytest.raises(CorruptFile, match=r"good\.h5: the HDF5 library failed on it"):
            first.read("w")
        assert torch.equal(second.read("w"), torch.from_numpy(MATRIX))
    assert read_all(good)


def test_a_reader_ends_with_its_file_and_a_new_helper_replaces_a_dead_one(good: Path) -> None:
    with open_checkpoint([good]):
        (reader,) = children(helper())
    assert ended(reader)
    dead = helper()
    os.kill(dead, signal.SIGKILL)
    assert ended(dead)
    assert read_all(good)
    assert helper() != dead


def test_nothing_outlives_a_process_that_is_killed(good: Path) -> None:
    program = f"""
import os, signal
from pathlib import Path
from peace_pipeline.weights.checkpoint import open_checkpoint
with open_checkpoint([Path({str(good)!r})]):
    me = os.getpid()
    (helper,) = Path(f"/proc/{{me}}/task/{{me}}/children").read_text().split()
    (reader,) = Path(f"/proc/{{helper}}/task/{{helper}}/children").read_text().split()
    print(helper, reader, flush=True)
    os.kill(me, signal.SIGKILL)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    pids = list(map(int, result.stdout.split()))
    assert len(pids) == 2
    assert ended(*pids)


def test_a_reader_can_open_no_file_and_is_bounded(good: Path) -> None:
    with open_checkpoint([good]):
        (reader,) = children(helper())
        limits = Path(f"/proc/{reader}/limits").read_text()
    found = {line[:25].strip(): line.split()[-3] for line in limits.splitlines()}
    assert found["Max open files"] == found["Max file size"] == found["Max core file size"] == "0"
    assert found["Max data size"] == str(1 << 30)


def test_a_reader_keeps_to_lower_limits(good: Path) -> None:
    program = f"""
import resource
from pathlib import Path
resource.setrlimit(resource.RLIMIT_DATA, (800 << 20, 800 << 20))
from peace_pipeline.weights.checkpoint import open_checkpoint
with open_checkpoint([Path({str(good)!r})]) as checkpoint:
    checkpoint.read("w")
"""
    subprocess.run([sys.executable, "-c", program], check=True)


@contextmanager
def room_for(more: int) -> Iterator[None]:
    """Allow so many more open files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = {int(name) for name in os.listdir("/proc/self/fd")}
    free = (number for number in range(soft) if number not in taken)
    resource.setrlimit(resource.RLIMIT_NOFILE, (next(islice(free, more, None)), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_too_many_open_files_are_a_reason_and_none_stays_open(good: Path) -> None:
    read_all(good)
    before, found = os.listdir("/proc/self/fd"), []
    for more in range(10):
        with room_for(more):
            try:
                read_all(good)
            except UnreadableCheckpoint as error:
                found.append(error)
    assert 0 < len(found) < 10
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_a_process_that_was_forked_while_a_thread_asked_for_a_reader(good: Path) -> None:
    with hdf5_process._helper._lock:
        forked = os.fork()
        if not forked:
            try:
                signal.alarm(10)
                read_all(good)
                os._exit(0)
            finally:
                os._exit(1)
    assert os.waitpid(forked, 0)[1] == 0


def test_a_file_that_keeps_the_library_busy_for_ever(tmp_path: Path) -> None:
    with new(tmp_path / "m.h5") as file:
        file["w"] = MATRIX
        file.attrs["name"] = "text"
    content = bytearray((tmp_path / "m.h5").read_bytes())
    length = content.index(b"text", content.index(b"GCOL")) - 8
    content[length : length + 8] = bytes(8)
    (tmp_path / "m.h5").write_bytes(content)
    with pytest.raises(CorruptFile, match="the HDF5 library failed on it"):
        read_all(tmp_path / "m.h5")

"""HDF5 files: arrays are read as they are, and no file has the library do more than read its own bytes."""

from __future__ import annotations

import math
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from h5py import h5d, h5s, h5t
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from peace_pipeline.weights.checkpoint import open_checkpoint
from peace_pipeline.weights.errors import (
    CorruptFile,
    DuplicateTensor,
    ExcessiveSize,
    ForbiddenPath,
    NoTensors,
    UnreadableCheckpoint,
    UnsupportedFormat,
)
from peace_pipeline.weights.formats import hdf5_process

RANDOM = np.random.default_rng(0)
MATRIX = RANDOM.standard_normal((7, 5)).astype(np.float32)


def read_all(path: Path) -> dict[str, torch.Tensor]:
    with open_checkpoint([path]) as checkpoint:
        return {name: checkpoint.read(name, None) for name in checkpoint.tensors}


@contextmanager
def new(path: Path, **options: object) -> Iterator[h5py.File]:
    with h5py.File(path, "w", **options) as file:
        yield file


def test_arrays_are_named_by_their_paths(tmp_path: Path) -> None:
    with new(tmp_path / "m.h5") as file:
        file["encoder/0/weight"] = MATRIX
        file["bias"] = np.ones(3)
        file["steps"] = 4
        file["note"] = "text"
        file["names"] = ["a", "b"]
        file["table"] = np.zeros(3, [("a", "f4"), ("b", "i4")])
        file["nothing"] = h5py.Empty("f4")
    found = read_all(tmp_path / "m.h5")
    assert found.keys() == {"encoder.0.weight", "bias", "steps"}
    assert torch.equal(found["encoder.0.weight"], torch.from_numpy(MATRIX))
    assert torch.equal(found["steps"], torch.tensor(4))


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"chunks": (2, 3)},
        {"chunks": (2, 3), "maxshape": (None, None)},
        {"chunks": (3, 2), "compression": "gzip", "shuffle": True, "fletcher32": True},
    ],
)
def test_rows_are_those_of_the_whole_in_every_layout(libver: str, options: dict, tmp_path: Path) -> None:
    with new(tmp_path / "m.hdf5", libver=libver) as file:
        file.create_dataset("w", data=MATRIX, **options)
    with open_checkpoint([tmp_path / "m.hdf5"]) as checkpoint:
        assert torch.equal(checkpoint.read("w"), torch.from_numpy(MATRIX))
        for start in range(7):
            for stop in range(start, 8):
                if start < stop:
                    part = checkpoint.read("w", None, (start, stop))
                    assert torch.equal(part, torch.from_numpy(MATRIX[start:stop]))


@pytest.mark.parametrize("kind", ["<f2", ">f2", "<f4", ">f4", "<f8", ">f8", "<i8", ">i2", "u1"])
def test_types_of_numbers(kind: str, tmp_path: Path) -> None:
    values = np.array([[1, 2], [0, 3]], kind)
    with new(tmp_path / "m.h5") as file:
        file["w"], file["float"] = values, np.ones(1)
    found = read_all(tmp_path / "m.h5")["w"]
    assert found.tolist() == values.tolist()
    assert str(found.dtype) == f"torch.{values.dtype.newbyteorder('=').name}"


@pytest.mark.parametrize("shape", [(3, 11, 67_000), (1, 5, 500_000), (2, 1, 2_300_000)])
def test_more_than_one_piece(shape: tuple[int, ...], tmp_path: Path) -> None:
    values = np.arange(math.prod(shape), dtype=np.float64).reshape(shape)
    with new(tmp_path / "m.h5") as file:
        file["w"] = values
    assert torch.equal(read_all(tmp_path / "m.h5")["w"], torch.from_numpy(values))


def test_a_chunk_is_not_unpacked_for_each_of_its_pieces(tmp_path: Path) -> None:
    shape = (256, 1 << 17)
    with new(tmp_path / "m.h5") as file:
        file.create_dataset("w", shape, np.uint8, np.ones(shape, np.uint8), chunks=shape, compression="gzip")
        file["float"] = np.ones(1)
    with open_checkpoint([tmp_path / "m.h5"]) as checkpoint:
        reader = children(helper())[-1]
        checkpoint.read("w", None, (0, 1))
        before = busy(reader)
        for row in range(256):
            checkpoint.read("w", None, (row, row + 1))
        assert busy(reader) - before < 2


def external_link(file: h5py.File) -> None:
    file["w"] = h5py.ExternalLink("/etc/passwd", "/w")


def external_storage(file: h5py.File) -> None:
    file.create_dataset("w", (3,), "f4", external=[("/etc/hostname", 0, 12)])


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((3,), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "w", (3,))
    file.create_virtual_dataset("w", layout)


def unwritten(file: h5py.File) -> None:
    file.create_dataset("w", (1 << 20, 1 << 20), "f4", chunks=(64, 64))


def unwritten_and_packed(file: h5py.File) -> None:
    file.create_dataset("w", (1 << 20, 1 << 20), "f4", chunks=(64, 64), compression="gzip")
    file["w"][0, 0] = 1


def empty_but_wide(file: h5py.File) -> None:
    file.create_dataset("w", (0, 1 << 62), "f4")


def large_chunk(file: h5py.File) -> None:
    file.create_dataset("w", (1 << 27,), "f4", chunks=(1 << 27,), compression="gzip")


def scaled(file: h5py.File) -> None:
    file.create_dataset("w", data=MATRIX, chunks=(7, 5), scaleoffset=3)


def lzf(file: h5py.File) -> None:
    file.create_dataset("w", data=MATRIX, chunks=(7, 5), compression="lzf")


def deep(file: h5py.File) -> None:
    file["/".join("g" * 200) + "/w"] = MATRIX


def one_name(file: h5py.File) -> None:
    file["a/b"] = file["a.b"] = MATRIX


def texts_only(file: h5py.File) -> None:
    file["note"] = "text"


REFUSED: dict[Callable[[h5py.File], None], tuple[type[UnreadableCheckpoint], str]] = {
    external_link: (ForbiddenPath, "'w' is a link to another file"),
    external_storage: (ForbiddenPath, "the values of 'w' are in another file"),
    virtual: (ForbiddenPath, "'w' is put together from other datasets"),
    unwritten: (ExcessiveSize, "'w' claims 4,398,046,511,104 bytes, 0 are stored"),
    unwritten_and_packed: (ExcessiveSize, "'w' claims 4,398,046,511,104 bytes"),
    empty_but_wide: (ExcessiveSize, "'w' has dimensions"),
    large_chunk: (ExcessiveSize, "'w' is in chunks of more than"),
    scaled: (UnsupportedFormat, "'w' is packed by filter 6"),
    lzf: (UnsupportedFormat, "'w' is packed by filter 32000"),
    deep: (ExcessiveSize, "groups nested more than"),
    one_name: (DuplicateTensor, "two datasets have one name"),
    texts_only: (NoTensors, "no floating-point tensors"),
}


@pytest.mark.parametrize("make", REFUSED)
def test_what_is_refused(make: Callable[[h5py.File], None], tmp_path: Path) -> None:
    with new(tmp_path / "m.h5") as file:
        make(file)
    kind, reason = REFUSED[make]
    started = time.monotonic()
    with pytest.raises(kind, match=reason) as error:
        read_all(tmp_path / "m.h5")
    assert type(error.value) is kind
    assert time.monotonic() - started < 3


def test_links_to_one_dataset_are_one_tensor(tmp_path: Path) -> None:
    with new(tmp_path / "m.h5") as file:
        file["a/w"] = MATRIX
        file["b"], file["c"] = file["a/w"], h5py.SoftLink("/a/w")
        file["a/loop"] = file["/"]
    assert read_all(tmp_path / "m.h5").keys() == {"a.w"}


def test_many_objects_are_refused_before_they_are_opened(tmp_path: Path) -> None:
    with new(tmp_path / "m.h5", libver="latest") as file:
        file["w"] = MATRIX
        for number in range(50_001):
            file.id.links.create_soft(f"{number}".encode(), b"/w")
    started = time.monotonic()
    with pytest.raises(ExcessiveSize, match="more than 50,000 objects"):
        read_all(tmp_path / "m.h5")
    assert time.monotonic() - started < 3


def test_datasets_that_overlap(tmp_path: Path) -> None:
    with new(tmp_path / "m.h5") as file:
        file["a"], file["b"] = MATRIX, MATRIX + 1
        first, second = (file[name].id.get_offset() for name in "ab")
    content = (tmp_path / "m.h5").read_bytes()
    assert content.count(second.to_bytes(8, "little")) == 1
    (tmp_path / "m.h5").write_bytes(
        content.replace(second.to_bytes(8, "little"), first.to_bytes(8, "little"))
    )
    with pytest.raises(CorruptFile, match="overlap"):
        read_all(tmp_path / "m.h5")


def test_a_file_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    with new(tmp_path / "m.h5") as file:
        file["w"] = RANDOM.standard_normal(1000)
    with open_checkpoint([tmp_path / "m.h5"]) as checkpoint:
        os.truncate(tmp_path / "m.h5", 3000)
        with pytest.raises(UnreadableCheckpoint, match="became shorter while it was read"):
            checkpoint.read("w")


def children(of: int) -> list[int]:
    """The processes that a process has started."""
    return [int(pid) for pid in Path(f"/proc/{of}/task/{of}/children").read_text().split()]


def helper() -> int:
    """The process that forks readers."""
    commands = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children(os.getpid())}
    return next(pid for pid, command in commands.items() if b"hdf5_helper" in command)


def busy(pid: int) -> float:
    """Seconds that a process has computed."""
    ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")


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


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data(), libver=st.sampled_from(["earliest", "latest"]))
def test_corrupt_bytes_are_never_another_exception(data: st.DataObject, libver: str, tmp_path: Path) -> None:
    path = tmp_path / f"{libver}.h5"
    if not path.exists():
        with new(path, libver=libver) as file:
            file["a/w"] = MATRIX
            file.create_dataset("a/packed", data=MATRIX, chunks=(2, 3), compression="gzip", shuffle=True)
            file.attrs["model_config"] = '{"class_name": "Sequential"}'
            file.attrs["layer_names"] = ["a"]
    content = bytearray(path.read_bytes())
    places = st.integers(0, len(content) - 1)
    for place, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), min_size=1, max_size=8)):
        content[place] = value
    broken = tmp_path / "broken.h5"
    broken.write_bytes(content[: data.draw(st.just(len(content)) | places)])
    with suppress(UnreadableCheckpoint):
        read_all(broken)


def test_another_floating_type_is_refused_but_bfloat16_is_read(tmp_path: Path) -> None:
    kind = h5t.IEEE_F16LE.copy()
    kind.set_fields(15, 7, 8, 0, 7)
    kind.set_ebias(127)
    values = torch.arange(6.0).to(torch.bfloat16)
    with new(tmp_path / "m.h5") as file:
        dataset = h5d.create(file.id, b"w", kind, h5s.create_simple((6,)))
        dataset.write(h5s.ALL, h5s.ALL, values.view(torch.uint16).numpy(), kind)
    assert torch.equal(read_all(tmp_path / "m.h5")["w"], values)
    with new(tmp_path / "m.h5") as file:
        file["w"] = np.ones(3, np.longdouble)
    with pytest.raises(UnsupportedFormat, match="'w' is of a type of numbers that is not read"):
        read_all(tmp_path / "m.h5")

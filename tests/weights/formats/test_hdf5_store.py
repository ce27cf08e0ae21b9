"""HDF5: arrays in every layout come back, and what a file can't hold is refused."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

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
from tests.weights.formats.hdf5_files import MATRIX, RANDOM, children, helper, new, read_all


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


def busy(pid: int) -> float:
    """Seconds that a process has computed."""
    ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")

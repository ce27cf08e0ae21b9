"""Archives and older files of torch.save that lie or are damaged are one reason."""

from __future__ import annotations

import io
import os
import pickle
import struct
import tarfile
import zipfile
from contextlib import suppress
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from peace_pipeline.weights.checkpoint import open_checkpoint
from peace_pipeline.weights.errors import (
    CorruptFile,
    ExcessiveSize,
    FileChanged,
    ForbiddenPath,
    UnreadableCheckpoint,
    UnsupportedFormat,
)
from tests.weights.formats.pickled import (
    FORMS,
    ROBUST,
    STATE,
    WHOLE,
    in_zip,
    read_all,
    refusal,
    tensor_pickle,
    written,
)


def test_archives_that_lie(tmp_path: Path) -> None:
    path = in_zip(tmp_path / "m.pt", tensor_pickle(), _0=WHOLE)
    content = path.read_bytes()

    def changed(place: int, new: bytes, kind: type[UnreadableCheckpoint]) -> str:
        path.write_bytes(content[:place] + new + content[place + len(new) :])
        return refusal(path, kind)

    end, second = content.rindex(b"PK\x05\x06"), content.rindex(b"PK\x01\x02")
    assert "a file twice, or another number" in changed(end + 10, b"\x01\x00", CorruptFile)
    assert "whose directory is not where it says" in changed(end + 16, b"\x00\x00\x00\x00", CorruptFile)
    assert "begin at one place" in changed(second + 42, b"\x00\x00\x00\x00", CorruptFile)
    assert "overlaps what follows" in changed(second + 20, b"\xff\x00\x00\x00" * 2, CorruptFile)
    assert "has two sizes" in changed(second + 20, b"\x01\x00\x00\x00", CorruptFile)
    assert "is compressed or encrypted" in changed(second + 8, b"\x01", UnsupportedFormat)
    assert "leads out of the archive" in changed(second + 46, b"../..", ForbiddenPath)
    assert "not where the directory says" in changed(content.rindex(b"PK\x03\x04"), b"xx", CorruptFile)
    path.write_bytes(content + b"more")
    assert "something after its end" in refusal(path, CorruptFile)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/data.pkl", tensor_pickle())
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("m/data.pkl", tensor_pickle())
    assert "names a file twice" in refusal(path, CorruptFile)
    path.write_bytes(
        b"PK\x03\x04"
        + b"PK\x06\x06"
        + struct.pack("<Q2H2L4Q", 44, 45, 45, 0, 0, *[10**6] * 2, 0, 4)
        + struct.pack("<4sLQL", b"PK\x06\x07", 0, 4, 1)
        + b"PK\x05\x06"
        + b"\xff" * 16
        + b"\x00\x00"
    )
    assert "an archive of 1,000,000 files" in refusal(path, ExcessiveSize)


def test_other_archives_and_pickles(tmp_path: Path) -> None:
    path = tmp_path / "m.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/model.json", "{}")
    assert "a zip archive without a data.pkl" in refusal(path, UnsupportedFormat)
    path.write_bytes(pickle.dumps({"w": "text"}))
    assert "a pickle without a network, but a dictionary of 'w'" in refusal(path, UnsupportedFormat)
    with tarfile.open(path, "w:") as tar:
        tar.addfile(tarfile.TarInfo("storages"), io.BytesIO())
    assert "a tar archive" in refusal(path, UnsupportedFormat)
    path.write_bytes(b"")
    assert "not a PyTorch file" in refusal(path, CorruptFile)


def test_legacy_files_that_lie(tmp_path: Path) -> None:
    path = written(tmp_path / "m.pt", {"w": torch.ones(4), "v": torch.zeros(3)}, zipped=False)
    content = path.read_bytes()
    length = content.rindex(struct.pack("<q", 4))
    path.write_bytes(content[:length] + struct.pack("<q", 2**40) + content[length + 8 :])
    assert "goes beyond its end" in refusal(path, CorruptFile)
    path.write_bytes(content[:length] + struct.pack("<q", 3) + content[length + 8 :])
    refusal(path, CorruptFile)
    path.write_bytes(content[:-1])
    assert "goes beyond its end" in refusal(path, CorruptFile)


@FORMS
def test_a_file_that_shrinks_while_it_is_read(zipped: bool, tmp_path: Path) -> None:
    path = written(tmp_path / "m.pt", {"w": torch.ones(10_000)}, zipped)
    with open_checkpoint([path]) as checkpoint:
        os.truncate(path, 1000)
        with pytest.raises(FileChanged, match=r"m\.pt"):
            checkpoint.read("w")


def fuzzed(content: bytes, data: st.DataObject) -> bytes:
    changed = bytearray(content)
    places = st.tuples(st.integers(0, len(content) - 1), st.integers(0, 255))
    for place, value in data.draw(st.lists(places, min_size=1, max_size=8)):
        changed[place] = value
    start, length = data.draw(st.tuples(st.integers(0, len(content)), st.integers(0, 40)))
    del changed[start : start + length]
    return bytes(changed)


@FORMS
@ROBUST
@given(data=st.data())
def test_corrupt_bytes_are_never_another_exception(zipped: bool, data: st.DataObject, tmp_path: Path) -> None:
    path = written(tmp_path / "m.pt", {"state_dict": STATE}, zipped)
    path.write_bytes(fuzzed(path.read_bytes(), data))
    with suppress(UnreadableCheckpoint):
        read_all(path)


@FORMS
@ROBUST
@given(cut=st.floats(0, 1, exclude_max=True))
def test_truncated_files(zipped: bool, cut: float, tmp_path: Path) -> None:
    path = written(tmp_path / "m.pt", STATE, zipped)
    os.truncate(path, int(cut * path.stat().st_size))
    refusal(path, CorruptFile)


def test_many_tensors(tmp_path: Path) -> None:
    names = [f"layers.{index}.weight" for index in range(10_000)]
    base = torch.arange(10_000.0)
    path = written(tmp_path / "m.pt", {name: base[index : index + 1] for index, name in enumerate(names)})
    with open_checkpoint([path]) as checkpoint:
        assert [*checkpoint.tensors] == names
        assert all(
            float(checkpoint.read(name)) == index for index, name in islice(enumerate(names), 0, None, 2500)
        )


@pytest.mark.parametrize("protocol", range(2, 6))
def test_pickles_of_arrays(protocol: int, tmp_path: Path) -> None:
    arrays = {"fc.weight": np.arange(6, dtype=np.float32).reshape(2, 3), "fc.bias": np.ones(2, np.float64)}
    for content in (arrays, {"epoch": 3, "params": arrays}):
        (tmp_path / "m.pkl").write_bytes(pickle.dumps(content, protocol=protocol))
        found = read_all(tmp_path / "m.pkl")
        assert found.keys() == arrays.keys()
        assert all(np.array_equal(found[name].numpy(), array) for name, array in arrays.items())


def test_a_pickle_of_more_than_a_window(tmp_path: Path) -> None:
    values = np.arange(1 << 19, dtype=np.float32).reshape(1 << 9, -1)
    (tmp_path / "m.pkl").write_bytes(pickle.dumps({"w": values}))
    assert np.array_equal(read_all(tmp_path / "m.pkl")["w"].numpy(), values)

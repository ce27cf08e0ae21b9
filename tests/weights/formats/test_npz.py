"""NumPy's archives: arrays by position or unpacked, in both byte orders and both layouts."""

from __future__ import annotations

import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from peace_pipeline.weights.errors import CorruptFile, ExcessiveSize, UnsupportedFormat
from tests.weights.reading import read_all, refusal

VALUES = np.arange(12, dtype=np.float32).reshape(3, 4)


@pytest.mark.parametrize("packed", [False, True])
def test_layouts_and_byte_orders(packed: bool, tmp_path: Path) -> None:
    arrays = {
        "c": VALUES,
        "fortran": np.asfortranarray(VALUES),
        "big": VALUES.astype(">f4"),
        "half": VALUES.astype("f2"),
    }
    arrays["scalar"], arrays["steps"] = np.float32(3), np.arange(3)
    (np.savez_compressed if packed else np.savez)(tmp_path / "m.npz", **arrays)
    found = read_all(tmp_path / "m.npz")
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert np.array_equal(found[name].numpy(), array), name


def test_a_single_array(tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", VALUES)
    assert torch.equal(read_all(tmp_path / "m.npy")["array"], torch.from_numpy(VALUES))


def test_kernels_of_flax_and_keras_are_laid_out(tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", **{"params/Dense_0/kernel": VALUES, "params/Dense_0/bias": np.ones(4, "f4")})
    found = read_all(tmp_path / "m.npz")
    assert torch.equal(found["Dense_0.weight"], torch.from_numpy(VALUES.T.copy()))
    assert found.keys() == {"Dense_0.weight", "Dense_0.bias"}


def test_what_is_no_numbers_is_left_out_or_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", w=VALUES, words=np.array(["a"]))
    assert read_all(tmp_path / "m.npz").keys() == {"w"}
    for odd in (np.array([{}, None]), np.zeros(2, [("a", "f4"), ("b", "f4")])):
        np.savez(tmp_path / "m.npz", w=VALUES, odd=odd)
        assert "'odd' is an array of objects or records" in refusal(tmp_path / "m.npz", UnsupportedFormat)
    heads = np.asfortranarray(np.ones((4, 2, 3), "f4"))
    np.savez(tmp_path / "m.npz", **{"query/kernel": heads})
    assert "Fortran" in refusal(tmp_path / "m.npz", UnsupportedFormat)
    np.savez(tmp_path / "m.npz", w=VALUES.astype("f16"))
    assert "'w' is of type f16" in refusal(tmp_path / "m.npz", UnsupportedFormat)


def test_arrays_of_data_are_no_weights(tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", X=VALUES, y=np.arange(3))
    assert "arrays of data by their names (X, y)" in refusal(tmp_path / "m.npz", UnsupportedFormat)


def test_lies(tmp_path: Path) -> None:
    path = tmp_path / "m.npz"
    np.savez(path, w=VALUES)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"(3, 4)", b"(3, 9)"))
    assert "does not take" in refusal(path, CorruptFile)
    path.write_bytes(content.replace(b"(3, 4)", b"(3\x0c 4)"))
    assert refusal(path, CorruptFile)
    path.write_bytes(content.replace(b"'descr'", b"'evil!'"))
    assert "none of NumPy" in refusal(path, CorruptFile)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("w.npy", bytes(100 << 20))
    assert "bytes" in refusal(path, ExcessiveSize)


def test_a_header_of_many_digits_takes_no_time(tmp_path: Path) -> None:
    path = tmp_path / "m.npy"
    np.save(path, VALUES)
    content = path.read_bytes()
    started = time.monotonic()
    path.write_bytes(content.replace(b"(3, 4), }" + b" " * 40, b"(" + b"1" * 47 + b"x"))
    refusal(path, CorruptFile)
    assert time.monotonic() - started < 5


def test_many_packed_arrays_are_not_unpacked_to_see_what_they_are(tmp_path: Path) -> None:
    path = tmp_path / "m.npz"
    np.savez_compressed(path, **{str(number): np.zeros(1 << 20, "f4") for number in range(40)})
    assert "packed arrays of more than" in refusal(path, ExcessiveSize)

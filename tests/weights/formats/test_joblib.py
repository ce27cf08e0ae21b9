"""Arrays whose values lie between the opcodes of a pickle."""

from __future__ import annotations

from pathlib import Path

import joblib
import numpy as np
import pytest
import torch

from peace_pipeline.weights.errors import CorruptFile, UnreadableCheckpoint, UnsupportedFormat
from peace_pipeline.weights.formats.joblib import size_of
from tests.weights.formats.pickled import read_all, refusal


def test_arrays_of_every_order_beside_texts(tmp_path: Path) -> None:
    rows, columns = np.arange(6.0).reshape(2, 3), np.asfortranarray(np.arange(6.0).reshape(3, 2))
    names = np.array(["first", "second"])
    joblib.dump(
        {"a": rows, "names": names, "b": columns, "c": rows[:, ::2], "step": 3}, tmp_path / "m.joblib"
    )
    found = read_all(tmp_path / "m.joblib")
    assert found.keys() == {"a", "b", "c"}
    for name, expected in {"a": rows, "b": columns, "c": rows[:, ::2]}.items():
        assert torch.equal(found[name], torch.from_numpy(expected.copy()))


def test_arrays_that_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "m.joblib"
    joblib.dump({"a": np.array([1, "x"], object)}, path)
    assert "arrays of joblib of objects" in refusal(path, UnsupportedFormat)
    joblib.dump({"a": np.ones((64, 64))}, path)
    path.write_bytes(path.read_bytes()[:-99])
    assert refusal(path, CorruptFile)
    joblib.dump({"a": np.ones((64, 64))}, path, compress=3)
    assert refusal(path, UnreadableCheckpoint)


def test_sizes() -> None:
    assert size_of("m", (2, 3), "f4") == 24
    assert size_of("m", (), "U5") == 20
    for shape in ((-1,), [2], (2.0,), None):
        with pytest.raises(ValueError):  # noqa: PT011
            size_of("m", shape, "f4")
    for kind in ("O8", None, "V16"):
        with pytest.raises(UnsupportedFormat):
            size_of("m", (2,), kind)

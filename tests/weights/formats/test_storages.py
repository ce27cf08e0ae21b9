"""Tensors of a pickle are what torch.load reads, whatever part of which storage they are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from peace_pipeline.weights.checkpoint import open_checkpoint
from peace_pipeline.weights.errors import (
    ExcessiveSize,
    UnsupportedFormat,
)
from tests.weights.formats.pickled import FORMS, ROBUST, read_all, refusal, same, written


def some_views(base: torch.Tensor) -> Iterator[torch.Tensor]:
    yield from (
        base,
        base.t(),
        base[1:],
        base[:, 1],
        base[::2, 1:],
        base.flatten()[3:5],
        base[:0],
        base[0, 0],
    )


DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64, torch.bool]

DTYPES += [torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8]

NEW_DTYPES = [torch.uint16, torch.uint32, torch.uint64, torch.float8_e4m3fn, torch.float8_e5m2]
"""Those that torch.load itself can't read back from a legacy file."""


@FORMS
@ROBUST
@given(data=st.data())
def test_as_torch_load_reads_it(zipped: bool, data: st.DataObject, tmp_path: Path) -> None:
    dtypes = st.sampled_from(DTYPES + NEW_DTYPES if zipped else DTYPES)
    bases = [
        (torch.arange(rows * columns) % 7).view(rows, columns).to(dtype)
        for rows, columns, dtype in data.draw(
            st.lists(
                st.tuples(st.integers(2, 4), st.integers(3, 4), dtypes),
                min_size=1,
                max_size=3,
            )
        )
    ]
    views = [view for base in [torch.ones(2, 3), *bases] for view in some_views(base)]
    state = data.draw(
        st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), st.sampled_from(views))
    )
    state["last"] = torch.full((2,), 9.0)
    protocol = data.draw(st.integers(2, 5))
    path = written(tmp_path / "m.pt", {"state_dict": state}, zipped, pickle_protocol=protocol)
    loaded = torch.load(path, weights_only=protocol == 2)["state_dict"]
    first: dict[Any, str] = {}
    for name, tensor in loaded.items():
        place = (tensor.untyped_storage().data_ptr(), tensor.storage_offset(), tensor.shape, tensor.stride())
        first.setdefault((*place, tensor.dtype), name)
    expected = {name: loaded[name] for name in first.values()}
    assert same(read_all(path), expected)
    with open_checkpoint([path]) as checkpoint:
        for name, tensor in expected.items():
            assert checkpoint.tensors[name].shape == tuple(tensor.shape)
            if tensor.dim() and len(tensor) > 1:
                rows = checkpoint.read(name, None, (1, len(tensor)))
                assert same({name: rows}, {name: tensor[1:]})


def test_a_large_tensor_that_is_not_stored_in_order(tmp_path: Path) -> None:
    base = torch.arange(6_000_000.0).view(2000, 3000)
    state = {
        "t": base.t(),
        "column": base[:, 7],
        "block": base.view(20, 100, 3000)[:, 3:90, 5:7],
        "even": base[::2],
    }
    path = written(tmp_path / "m.pt", state)
    assert same(read_all(path), state)
    with open_checkpoint([path]) as checkpoint:
        assert torch.equal(checkpoint.read("t", rows=(10, 20)), base.t()[10:20])


def test_what_overlaps_itself_is_not_read_again_and_again(tmp_path: Path) -> None:
    base = torch.arange(8_000_000.0)
    path = written(tmp_path / "m.pt", {"w": base.as_strided((2000, 2000), (2000, 1001))})
    assert "repeats its values by strides (2000, 1001)" in refusal(path, UnsupportedFormat)


def test_views_of_one_storage_claim_no_large_network(tmp_path: Path) -> None:
    base = torch.ones(1_001_000)
    path = written(tmp_path / "m.pt", {f"{start}": base[start : start + 1_000_000] for start in range(1000)})
    assert "tensors of 4,000,000,000 bytes in a file of" in refusal(path, ExcessiveSize)


def test_only_the_rows_asked_for_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = {"w": torch.arange(1_000_000.0).view(1000, 1000)}
    with open_checkpoint([written(tmp_path / "m.pt", state)]) as checkpoint:
        count = 0
        reading = os.preadv

        def counted(*arguments: Any) -> int:
            nonlocal count
            count += (done := reading(*arguments))
            return done

        monkeypatch.setattr(os, "preadv", counted)
        assert torch.equal(checkpoint.read("w", rows=(998, 1000)), state["w"][998:])
    assert 8000 <= count < 9000


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
@FORMS
@pytest.mark.parametrize("dtype", [torch.qint8, torch.quint8, torch.qint32])
def test_quantised_tensors(dtype: torch.dtype, zipped: bool, tmp_path: Path) -> None:
    weight = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    scales, points = torch.tensor([0.1, 0.2, 0.03, 0.4]).double(), torch.tensor([0, 5, 3, 1])
    state = {
        "whole": torch.quantize_per_tensor(weight, 0.1, 3, dtype),
        "rows": torch.quantize_per_channel(weight, scales, points, 0, dtype),
        "columns": torch.quantize_per_channel(weight, scales[:3], points[:3], 1, dtype),
    }
    path = written(tmp_path / "m.pt", state, zipped)
    expected = {name: tensor.dequantize() for name, tensor in state.items()}
    assert same(read_all(path), expected)
    with open_checkpoint([path]) as checkpoint:
        assert {info.stored for info in checkpoint.tensors.values()} == {str(dtype).removeprefix("torch.")}
        for name, tensor in expected.items():
            assert torch.equal(checkpoint.read(name, rows=(1, 3)), tensor[1:3])


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_numpy_arrays_are_tensors(protocol: int, tmp_path: Path) -> None:
    arrays = {
        "plain": np.arange(6.0, dtype=np.float32).reshape(2, 3) - 3,
        "columns": np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3)),
        "other order": np.arange(3.0).astype(">f8"),
        "half": np.ones((2, 0), np.float16),
        "flags": np.array([True, False]),
    }
    content = {"weights": arrays | {"classes": np.array(["cat", "dog"]), "any": np.array([{}], object)}}
    path = written(tmp_path / "m.pt", content, pickle_protocol=protocol)
    assert same(
        read_all(path), {k: torch.from_numpy(v.astype(v.dtype.newbyteorder("="))) for k, v in arrays.items()}
    )


def test_shared_weights_are_listed_once(tmp_path: Path) -> None:
    weight = torch.randn(3, 2)
    state = {"embedding": weight, "head": weight, "transposed": weight.t()}
    assert [*read_all(written(tmp_path / "m.pt", state))] == ["embedding", "transposed"]

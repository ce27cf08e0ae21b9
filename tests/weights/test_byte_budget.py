"""A byte budget: fair shares, rows at seeded places, and the same part whether a file is local or a sampled copy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from safetensors.torch import save_file

from peace_pipeline.weights.byte_budget import MOST_STRATA, _order, bytes_read, fair_share
from peace_pipeline.weights.checkpoint import open_checkpoint
from peace_pipeline.weights.errors import ExcessiveSize
from peace_pipeline.weights.local_blob import local_blob
from peace_pipeline.weights.sampled_copy import NAME, fetch_sampled, open_sampled
from peace_pipeline.zoo.source import FetchError, Ranged

STATE = {
    "big": torch.randn(1000, 30),
    "half": torch.randn(1000, 8).bfloat16(),
    "tall": torch.randn(70, 2, 3),
    "small": torch.randn(5),
    "scalar": torch.tensor(2.0),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_file(STATE, tmp_path / "m.safetensors")
    return tmp_path / "m.safetensors"


@given(
    sizes=st.lists(st.integers(0, 10**6), max_size=30),
    budget=st.integers(0, 10**7),
    divisor=st.integers(1, 99),
)
def test_a_fair_share_is_the_largest_that_fits(sizes: list[int], budget: int, divisor: int) -> None:
    least = [size // divisor for size in sizes]
    assume(sum(least) <= budget)
    share = fair_share(sizes, least, budget)
    assert sum(max(min(size, share), row) for size, row in zip(sizes, least, strict=True)) <= budget
    if share < max(sizes, default=0):
        assert sum(max(min(size, share + 1), row) for size, row in zip(sizes, least, strict=True)) > budget


@given(height=st.integers(1, 3000), strata=st.integers(1, MOST_STRATA))
def test_rows_are_taken_in_turns_from_every_stratum(height: int, strata: int) -> None:
    order = _order(height, strata)
    assert sorted(order) == list(range(height))
    if height >= strata**2:
        edges = np.arange(strata) * height // strata
        assert len({int((edges <= row).sum()) for row in order[:strata]}) == strata


@pytest.mark.parametrize("budget", [2_000, 20_000, 100_000])
def test_a_budget_reads_that_much_and_says_what(budget: int, path: Path) -> None:
    with open_checkpoint([path], budget) as checkpoint:
        assert checkpoint.sampled
        assert checkpoint.parameters == sum(value.numel() for value in STATE.values())
        assert budget - 200 < sum(map(bytes_read, checkpoint.tensors.values())) <= budget
        for name, info in checkpoint.tensors.items():
            assert info.shape == STATE[name].shape
            expected = STATE[name][info.part.index] if info.part else STATE[name]
            assert torch.equal(checkpoint.read(name, None), expected)
            if info.part and info.part.size > 3:
                assert torch.equal(checkpoint.read(name, None, (1, 3)), expected[1:3])


def test_tensors_of_one_height_are_read_at_the_same_rows(path: Path) -> None:
    with open_checkpoint([path], 20_000) as checkpoint:
        big, half = (checkpoint.tensors[name].part for name in ("big", "half"))
        assert big is not None
        assert half is not None
        assert big.size < half.size
        assert set(big.index.tolist()) <= set(half.index.tolist())


def test_a_budget_that_leaves_nothing_out(path: Path) -> None:
    with open_checkpoint([path], 10**6) as checkpoint:
        assert not checkpoint.sampled
        assert all(torch.equal(checkpoint.read(name, None), value) for name, value in STATE.items())


def test_a_budget_below_a_row_of_each(path: Path, tmp_path: Path) -> None:
    with pytest.raises(ExcessiveSize, match="one row of every tensor"), open_checkpoint([path], 100):
        pass
    with local_blob(path) as blob, pytest.raises(FetchError, match="one row of every tensor"):
        fetch_sampled(Ranged((blob,), tmp_path, 500))
    assert not (tmp_path / NAME).exists()


@pytest.mark.parametrize("budget", [20_000, 10**6])
def test_a_sampled_copy_reads_as_the_sampled_file(budget: int, path: Path, tmp_path: Path) -> None:
    class Counting:
        def __init__(self, blob: object) -> None:
            self.blob, self.name, self.size, self.read_bytes = blob, blob.name, blob.size, 0  # type: ignore[attr-defined]

        def read(self, start: int, stop: int) -> object:
            self.read_bytes += stop - start
            return self.blob.read(start, stop)  # type: ignore[attr-defined]

    with local_blob(path) as blob:
        counting = Counting(blob)
        fetch_sampled(Ranged((counting,), tmp_path, budget))  # type: ignore[arg-type]
    assert counting.read_bytes <= budget
    header = min(blob.size, budget) - counting.read_bytes
    with open_sampled(tmp_path / NAME) as copy, open_checkpoint([path], budget - header) as sampled:
        assert copy.tensors.keys() == sampled.tensors.keys()
        for name, info in copy.tensors.items():
            expected = STATE[name][info.part.index] if info.part else STATE[name]
            assert info.shape == STATE[name].shape
            assert torch.equal(copy.read(name, None), expected)

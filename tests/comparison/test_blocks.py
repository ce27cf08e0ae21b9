"""Blockwise quantisation is seen in the values."""

from __future__ import annotations

import pytest
import torch

from peace_pipeline.comparison.blocks import in_blocks
from peace_pipeline.comparison.evidence import QUANTISED

NOTHING = (None, None)


def symmetric(values: torch.Tensor, size: int, bits: int) -> torch.Tensor:
    blocks = values.reshape(-1, size)
    step = (blocks.abs().amax(1, keepdim=True) / (2 ** (bits - 1) - 1)).half().float()
    return ((blocks / step).round() * step).reshape(values.shape)


def with_offset(values: torch.Tensor, size: int, bits: int) -> torch.Tensor:
    blocks = values.reshape(-1, size)
    low = blocks.amin(1, keepdim=True)
    step = (blocks.amax(1, keepdim=True) - low) / (2**bits - 1)
    return (((blocks - low) / step).round() * step + low).reshape(values.shape)


def of_levels(values: torch.Tensor, size: int, bits: int) -> torch.Tensor:
    """Blocks of values of a code book, as NF4 has one."""
    book = torch.linspace(-1, 1, 2**bits, dtype=torch.float64).sinh()
    blocks = values.double().reshape(-1, size)
    scale = blocks.abs().amax(1, keepdim=True)
    nearest = (blocks[..., None] / scale[..., None] - book / book.max()).abs().argmin(-1)
    return ((book / book.max())[nearest] * scale).float().reshape(values.shape)


@pytest.mark.parametrize("size", [32, 64, 128])
@pytest.mark.parametrize(
    ("quantise", "bits"), [(symmetric, 8), (symmetric, 4), (with_offset, 4), (with_offset, 8), (of_levels, 4)]
)
def test_blocks_of_few_levels(quantise: object, bits: int, size: int) -> None:
    assert callable(quantise)
    weight = torch.randn(64, 256, generator=torch.Generator().manual_seed(0))
    other = quantise(weight, size, bits)
    for pair in ((weight, other), (other, weight), (weight.T, other.T)):
        found = in_blocks(*pair, NOTHING)
        assert found is not None
        assert (found.relation, found.text) == (QUANTISED, f"quantised to {bits} bits in blocks of {size}")


def test_other_changes_are_no_quantisation() -> None:
    weight = torch.randn(64, 256, generator=torch.Generator().manual_seed(0))
    for other in (
        weight + 0.01,
        weight.half().float(),
        torch.where(weight.abs() > 1, weight, 0),
        weight * 1.5,
    ):
        assert in_blocks(weight, other, NOTHING) is None
    assert in_blocks(weight, weight, NOTHING) is None
    assert in_blocks(weight[:, 0], symmetric(weight[:, 0], 32, 8), NOTHING) is None


def test_what_the_file_says_comes_first() -> None:
    weight = torch.randn(4, 32)
    found = in_blocks(weight, weight + 0.01, (None, "q4_k"))
    assert found is not None
    assert found.text == "stored as q4_k"

"""Small numbers come out of words as a number-by-number reference takes them."""

from __future__ import annotations

import pytest
import torch

from peace_pipeline.weights.logical.packing.bits import floats, integers, integers_of_awq, powers
from tests.weights.logical.packing.packed import stream


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 6, 8])
def test_integers_of_every_width(bits: int) -> None:
    values = torch.randint(0, 2**bits, (5, 96), generator=torch.Generator().manual_seed(bits))
    assert torch.equal(integers(stream(values, bits), bits).long(), values)
    assert torch.equal(integers(stream(values, bits).view(torch.uint32), bits).long(), values)


def test_the_order_of_awq() -> None:
    word = sum(value << (4 * place) for place, value in enumerate([0, 2, 4, 6, 1, 3, 5, 7]))
    assert integers_of_awq(torch.tensor([[word]], dtype=torch.int64).to(torch.int32)).tolist() == [
        list(range(8))
    ]


def test_floats_of_four_bits_and_their_exponents() -> None:
    assert floats(torch.tensor([0xF1], dtype=torch.uint8)).tolist() == [0.5, -6.0]
    assert floats(torch.tensor([0xF1], dtype=torch.uint8), is_high_first=True).tolist() == [-6.0, 0.5]
    assert powers(torch.tensor([127, 130, 120], dtype=torch.uint8)).tolist() == [1.0, 8.0, 2.0**-7]

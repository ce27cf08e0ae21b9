"""Blockwise quantisation: each block of neighbouring values has a scale (and an offset) of its own."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from peace_pipeline.comparison.evidence import QUANTISED, Evidence

_SIZES = (256, 128, 64, 32, 16)
_BLOCKS = 64
"""Blocks of a weight that are looked at."""
_STEPS = 255
"""Steps between the least and the greatest value of a block: at most 8 bits."""
_OFF = 2e-2
"""How far from a whole number of steps values may be that were rounded once more (to bfloat16, say)."""
_SHARE = 0.9
"""Of the blocks that have to lie on grids of their own; in the other network hardly any do."""
_LEVELS = 16


def in_blocks(a: torch.Tensor, b: torch.Tensor, encodings: Sequence[str | None]) -> Evidence | None:
    """Whether one of two weights lies on a grid of few steps block by block and the other does not; ``encodings`` is
    how their files store them, where that is not as numbers."""
    named = sorted({encoding for encoding in encodings if encoding})
    if len(named) == 1:
        return Evidence(QUANTISED, f"stored as {named[0]}")
    for one, other in ((a, b), (b, a)):
        for turned in (False, True):
            pair = [each.flatten(1).T if turned else each for each in (one, other) if each.dim() > 1]
            found = _on_grids(*pair) if len(pair) == 2 else None
            if found:
                return found
    return None


def _on_grids(one: torch.Tensor, other: torch.Tensor) -> Evidence | None:
    for size in _SIZES:
        if one[0].numel() % size:
            continue
        bits = _bits(one, size)
        if bits is not None and _bits(other, size) is None:
            return Evidence(QUANTISED, f"quantised to {bits} bits in blocks of {size}")
    return None


def _bits(weight: torch.Tensor, size: int) -> int | None:
    """Bits that the values of a block need, where almost every block lies on a grid of its own or has few levels."""
    blocks = weight.reshape(-1, size)
    blocks = blocks[:: -(-len(blocks) // _BLOCKS)].double()
    blocks = blocks[blocks.amax(1) > blocks.amin(1)]
    if not len(blocks):
        return None
    steps = torch.arange(1, min(_STEPS, 8 * size) + 1, dtype=torch.float64)
    low, span = blocks.amin(1, keepdim=True), (blocks.amax(1) - blocks.amin(1))[:, None]
    places = (blocks - low) / span  # (blocks, size) from 0 to 1
    off = torch.stack([(places * n - (places * n).round()).abs().amax(1) for n in steps.tolist()], 1)
    is_grid = off <= _OFF
    found = torch.where(is_grid.any(1), is_grid.double().argmax(1) + 1, 0)
    ordered = blocks.sort(1).values
    levels = 1 + (ordered.diff(dim=1) > 0).sum(1)
    if size >= 2 * _LEVELS:
        is_few = (levels <= _LEVELS) & (3 * levels <= 2 * (blocks != 0).sum(1))
        found = torch.where((found == 0) & is_few, levels - 1, found)
    if float((found > 0).double().mean()) < _SHARE:
        return None
    return max(1, math.ceil(math.log2(int(found.max()) + 1)))

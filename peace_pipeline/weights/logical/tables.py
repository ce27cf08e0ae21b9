"""Buffers that only their values tell: masks, and tables of sines, under whatever name."""

from __future__ import annotations

import math

import torch

from peace_pipeline.weights.checkpoint import Checkpoint
from peace_pipeline.weights.tensors import TensorInfo, dtype_name
from peace_pipeline.weights.views import Stored, Views

_LARGEST = 1 << 26
"""Values of a table."""
_MOST = 1 << 28
"""Values that are looked at in a network."""
_HEAD = 4096
"""Values of a tensor of which one row is looked at first."""
_HIDDEN = -1e4
"""What a mask adds to scores at most."""
_TOLERANCE = 2e-2
"""Of sines, which may be stored as bfloat16."""
_LEAST = 8
_SIGNED = {
    torch.uint8: torch.int8, torch.int8: torch.int8, torch.uint16: torch.int16, torch.uint32: torch.int32,
}  # fmt: skip
"""Types that are masks where all values are 0 or 1, and weights else → that of the same width with a sign."""
_INTEGERS = ("int64", "int32", "int16", *(dtype_name(dtype) for dtype in _SIGNED))
_LARGEST_INDEX = 1 << 24
_FEWEST = 4
"""Values of a weight, at least."""
_NEEDED = 5
"""Places of a table of sines."""
_PARAMETERS = ("weight", "bias", "gamma", "beta", "kernel", "g", "scale")


def tables(checkpoint: Checkpoint, views: Views) -> set[str]:
    """Names of stored tensors that are no parameters: masks (0 or 1 where something is seen, and one very low or other
    number where it isn't), sines and cosines of places, frequencies in a geometric row, phases, indices."""
    found: set[str] = set()
    left = _MOST
    for name, view in views.items():
        info = view.info
        if isinstance(view, Stored) and _may_be(name, info) and info.size <= left:
            left -= info.size
            if _is_table(checkpoint, info):
                found.add(info.name)
    return found


def _may_be(name: str, info: TensorInfo) -> bool:
    """Whether a tensor holds integers, or stands by itself and has few axes longer than 1."""
    if not 0 < info.size <= _LARGEST:
        return False
    if info.dtype in _INTEGERS:
        return not name.endswith(".weight")
    is_number = info.is_floating or info.dtype.startswith("complex")
    is_own = name.rpartition(".")[2] not in _PARAMETERS or name.endswith("attn.bias")
    return is_number and is_own and info.part is None and 1 <= sum(size > 1 for size in info.shape) <= 2


def _is_table(checkpoint: Checkpoint, info: TensorInfo) -> bool:
    if info.is_floating and info.size > _HEAD and info.shape[0] > 1 and max(info.shape[1:], default=1) > 1:
        first = checkpoint.raw(info.name, (0, 1)).float().unique()
        if len(first) > 2:  # neither a mask nor sines and cosines of nothing
            return False
    values = checkpoint.raw(info.name)
    if values.is_complex():
        return bool((values.abs() - 1).abs().max() < _TOLERANCE)
    if not info.is_floating:
        return _are_indices(values)
    values = values.float().squeeze()
    if values.dim() == 1:
        return _is_geometric(values)
    return _is_mask(values) or _is_sines(values)


def _are_indices(values: torch.Tensor) -> bool:
    """Whether integers are numbers of things, offsets, or 0 and 1; what weights are packed into has any value."""
    if values.numel() <= _FEWEST:
        return True
    if values.dtype in _SIGNED:  # few operators take these
        values = values.view(_SIGNED[values.dtype])
        return bool(((values == 0) | (values == 1)).all())
    low, high = int(values.min()), int(values.max())
    if values.dtype == torch.int16:  # of which packed weights need not take the whole range
        return low >= -1 and high < values.numel()
    return low > -_LARGEST_INDEX and high < _LARGEST_INDEX


def _is_mask(values: torch.Tensor) -> bool:
    low, high = float(values.min()), float(values.max())
    if math.isnan(low) or low == high or not bool(((values == low) | (values == high)).all()):
        return False
    if low <= _HIDDEN:
        return high in (0.0, 1.0)
    height, width = values.shape
    is_triangle = height == width and bool(torch.equal(values, values.tril()))
    return (low, high) == (0.0, 1.0) and is_triangle and int(values.sum()) == height * (height + 1) // 2


def _is_sines(values: torch.Tensor) -> bool:
    """Whether each column is sin(t·f) or cos(t·f) for t = 0, 1, …: the doubled angle's value follows."""
    if values.shape[0] < _NEEDED or values.shape[1] < 2 or not bool((values.abs() <= 1 + _TOLERANCE).all()):
        return False
    first, once, twice, fourth = (values[place] for place in (0, 1, 2, 4))
    is_cosine = first == 1
    if not bool((is_cosine | (first == 0)).all()) or bool((values[1:] == values[:1]).all()):
        return False

    def doubles(single: torch.Tensor, double: torch.Tensor) -> bool:
        squares = 4 * single**2 * (1 - single**2)
        off = torch.where(is_cosine, double - (2 * single**2 - 1), double**2 - squares)
        return bool((off.abs() < _TOLERANCE).all())

    return doubles(once, twice) and doubles(twice, fourth)


def _is_geometric(values: torch.Tensor) -> bool:
    """Whether it is 1, r, r², …: frequencies of rotary positions."""
    if len(values) < _LEAST or float(values[0]) != 1 or not bool((values > 0).all()):
        return False
    ratios = values[1:] / values[:-1]
    return float(ratios.max()) < 1 and float(ratios.max() - ratios.min()) < _TOLERANCE * float(ratios.min())

"""Buffers that only their values tell: masks, and tables of sines, under whatever name."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator

import torch

from peace_pipeline.weights.checkpoint import Checkpoint
from peace_pipeline.weights.tensors import TensorInfo
from peace_pipeline.weights.views import Stored, Views

_LARGEST = 1 << 26
"""Values of a table."""
_SOUGHT = 64
"""Tensors of a network that are looked at."""
_HIDDEN = -1e4
"""What a mask adds to scores at most."""
_TOLERANCE = 2e-2
"""Of sines, which may be stored as bfloat16."""
_LEAST = 8
_INDICES = ("int64", "int32", "int16")
_LARGEST_INDEX = 1 << 24
_MOST_INDICES = 4096
"""Tensors of indices of a network."""
_NEEDED = 5
"""Places of a table of sines."""
_PARAMETERS = ("weight", "bias", "gamma", "beta", "kernel", "g", "scale")


def tables(checkpoint: Checkpoint, views: Views) -> set[str]:
    """Names of stored tensors that are no parameters: masks (0 or 1 where something is seen, and one very low or other
    number where it isn't), sines and cosines of places, frequencies in a geometric row, phases, indices."""
    indices = itertools.islice(_integers(views), _MOST_INDICES)
    candidates = itertools.chain(indices, itertools.islice(_candidates(views), _SOUGHT))
    return {info.name for info in candidates if _is_table(checkpoint, info)}


def _integers(views: Views) -> Iterator[TensorInfo]:
    for view in views.values():
        if isinstance(view, Stored) and view.info.dtype in _INDICES and 0 < view.info.size <= _LARGEST:
            yield view.info


def _candidates(views: Views) -> Iterator[TensorInfo]:
    """Tensors that stand by themselves, of few axes longer than 1."""
    for name, view in views.items():
        info = view.info
        is_own = name.rpartition(".")[2] not in _PARAMETERS or name.endswith("attn.bias")
        axes = [size for size in info.shape if size > 1]
        is_small = info.size <= _LARGEST and info.part is None
        is_number = info.is_floating or info.dtype.startswith("complex")
        if isinstance(view, Stored) and is_own and is_small and is_number and 1 <= len(axes) <= 2:
            yield info


def _is_table(checkpoint: Checkpoint, info: TensorInfo) -> bool:
    values = checkpoint.raw(info.name)
    if values.is_complex():
        return bool((values.abs() - 1).abs().max() < _TOLERANCE)
    if not info.is_floating:
        return info.size == 1 or (int(values.min()) >= -1 and int(values.max()) < _LARGEST_INDEX)
    values = values.float().squeeze()
    if values.dim() == 1:
        return _is_geometric(values)
    return _is_mask(values) or _is_sines(values)


def _is_mask(values: torch.Tensor) -> bool:
    low, high = float(values.min()), float(values.max())
    if math.isnan(low) or low == high or not bool(((values == low) | (values == high)).all()):
        return False
    if low <= _HIDDEN:
        return high in (0.0, 1.0)
    is_square = values.shape[0] == values.shape[1]
    return (low, high) == (0.0, 1.0) and is_square and bool(torch.equal(values, values.tril()))


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

"""Ragged batches: every layer has neurons and every network layers of its own number.

torch-geometric's scatter and dense batches do the work. ``import torch_geometric`` would also load its data sets,
loaders and explainers, and through them ``torch._dynamo``: seconds, of which an embedding needs nothing.
"""

from __future__ import annotations

import importlib
import math
import sys
from types import ModuleType

import torch

_PACKAGE = "torch_geometric"
_LEFT_OUT = ("data", "datasets", "explain", "isinstance", "loader", "nn", "profile", "sampler", "transforms")


class _LeftOut(ModuleType):
    """Stands for a part of a package that nobody calls; it has every name."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return object


def _utilities() -> ModuleType:
    """``torch_geometric.utils``; the package is left unloaded, so that whoever imports it gets the whole."""
    if _PACKAGE in sys.modules:
        return importlib.import_module(f"{_PACKAGE}.utils")
    sys.modules.update({name: _LeftOut(name) for name in (f"{_PACKAGE}.{part}" for part in _LEFT_OUT)})
    try:
        return importlib.import_module(f"{_PACKAGE}.utils")
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == _PACKAGE]:
            del sys.modules[name]


_utils = _utilities()
to_dense_batch = _utils.to_dense_batch


def spread(values: torch.Tensor, of: torch.Tensor, count: int) -> torch.Tensor:
    """Mean, maximum and standard deviation (count, 3·width) of the ``values`` (rows, width) of each set.

    ``of`` (rows,) says to which of ``count`` sets a row belongs; an empty set has zeros, and so has the deviation
    of equal values (its gradient is 0 there).
    """
    total = _utils.scatter(values, of, 0, count, "sum")
    greatest = _utils.scatter(values, of, 0, count, "max")
    squares = _utils.scatter(values * values, of, 0, count, "sum")
    size = of.bincount(minlength=count).clamp(min=1)[:, None].to(values.dtype)
    mean = total / size
    deviation = (squares / size - mean * mean).clamp(min=1e-5).sqrt()
    deviation = deviation.masked_fill(deviation <= math.sqrt(1e-5), 0.0)
    return torch.cat([mean, greatest, deviation], -1)

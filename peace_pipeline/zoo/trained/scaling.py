"""How the numbers of a task are scaled, by what its training examples say."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Scaling = Literal["standardised", "unit", "signed"]


def _standardised(x: Array, known: Array, axis: int | None) -> Array:
    spread = known.std(axis)
    return (x - known.mean(axis)) / np.where(spread > 0, spread, 1)


def _unit(x: Array, known: Array, axis: int | None) -> Array:
    """Between 0 and 1 for all examples but the outermost percents, which are cut."""
    low, high = np.quantile(known, [0.01, 0.99], axis)
    return ((x - low) / np.where(high > low, high - low, 1)).clip(0, 1)


def _signed(x: Array, known: Array, axis: int | None) -> Array:
    return 2 * _unit(x, known, axis) - 1


SCALINGS: dict[Scaling, Callable[[Array, Array, int | None], Array]] = {
    "standardised": _standardised,
    "unit": _unit,
    "signed": _signed,
}
"""Inputs (examples, features), those to train on, and the axis to scale along (all numbers together: None)."""

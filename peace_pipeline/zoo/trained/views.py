"""Views of the inputs and namings of the labels, by which one data set gives several tasks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .data import FIRST_LETTER, FIRST_OTHER, VOCABULARY

INPUTS, LABELS = 64, 10
Array = NDArray[Any]


def _image(x: Array) -> Array:
    return x.reshape(-1, 8, 8)


def _contrasted(x: Array) -> Array:
    centred = x - x.mean()
    return np.sign(centred) * np.sqrt(abs(centred))


def _noisy(x: Array) -> Array:
    return x + 0.5 * x.std(0) * np.random.default_rng(0).normal(size=x.shape)


def _occluded(x: Array) -> Array:
    hidden = np.arange(x.shape[1]) % 8 < 3
    return np.where(hidden, x.mean(0), x)


def _backwards(ids: Array) -> Array:
    return np.column_stack([ids[:, :1], ids[:, :0:-1]])


def _ciphered(ids: Array) -> Array:
    cipher = np.arange(VOCABULARY)
    cipher[FIRST_LETTER:FIRST_OTHER] = np.random.default_rng(0).permutation(cipher[FIRST_LETTER:FIRST_OTHER])
    return cipher[ids]


VIEWS: dict[str, Callable[[Array], Array]] = {
    "plain": lambda x: x,
    "inverted": lambda x: x.max() - x,
    "rotated": lambda x: np.rot90(_image(x), axes=(1, 2)).reshape(-1, INPUTS),
    "reversed": lambda x: x[:, ::-1],
    "mirrored": lambda x: _image(x)[:, :, ::-1].reshape(-1, INPUTS),
    "transposed": lambda x: _image(x).swapaxes(1, 2).reshape(-1, INPUTS),
    "permuted": lambda x: x[:, np.random.default_rng(0).permutation(x.shape[1])],
    "rolled": lambda x: np.roll(x, x.shape[1] // 3, 1),
    "contrasted": _contrasted,
    "noisy": _noisy,
    "occluded": _occluded,
    "backwards": _backwards,
    "ciphered": _ciphered,
}
VIEWS_OF = {
    "image-classification": (
        *("inverted", "rotated", "reversed", "mirrored", "transposed"),
        *("permuted", "rolled", "contrasted", "noisy", "occluded"),
    ),
    "time-series-classification": (
        "inverted",
        "reversed",
        "permuted",
        "rolled",
        "contrasted",
        "noisy",
        "occluded",
    ),
    "tabular-classification": ("inverted", "reversed", "permuted", "contrasted", "noisy"),
    "text-classification": ("backwards", "ciphered"),
}
"""The views other than the plain one that each kind of input has."""
NAMINGS: dict[str, Callable[[Array], Array]] = {
    "own": lambda y: y,
    "permuted": lambda y: (3 * y + 1) % LABELS,
    "parity": lambda y: y % 2,
}

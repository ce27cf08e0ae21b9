"""What a kind of data is, and the few helpers that the generators of all kinds share.

A generator makes one data set from a random generator and a number of classes: EXAMPLES examples and their classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

EXAMPLES = 2400
IMAGE, SIGNAL = "image-classification", "time-series-classification"
TABLE, TEXT = "tabular-classification", "text-classification"
Array = NDArray[Any]
Raw = tuple[Array, Array]


@dataclass(frozen=True)
class Kind:
    """A kind of data: how its data sets are made, of how many classes, and how many of them there are.

    ``share`` is how many tasks are of it, where other kinds have one.
    """

    title: str
    pipeline_tag: str
    make: Callable[[Generator, int], Raw]
    classes: tuple[int, ...] = (2, 3, 4, 5, 6, 8, 10, 10)
    datasets: int | None = None
    share: float = 1.0


def drawn(rng: Generator, classes: int) -> Array:
    """A class for every example."""
    return rng.integers(classes, size=EXAMPLES)


def quantised(values: Array, classes: int) -> Array:
    """Classes of equal size by the order of ``values``."""
    return values.argsort(kind="stable").argsort(kind="stable") * classes // len(values)


def balanced(scores: Array) -> Array:
    """The class of the greatest of the scores (examples, classes), each score standardised so that all win."""
    return ((scores - scores.mean(0)) / scores.std(0)).argmax(1)


def teacher(rng: Generator, x: Array, classes: int, width: int = 16) -> Array:
    """Labels of a random network with one hidden layer."""
    hidden = np.tanh(x @ rng.normal(size=(x.shape[1], width)) * 1.5 / np.sqrt(x.shape[1]))
    return balanced(hidden @ rng.normal(size=(width, classes)))


def noisy(rng: Generator, x: Array, least: float, most: float) -> Array:
    """``x`` with noise of a level that is drawn once, in standard deviations of ``x``."""
    return x + rng.uniform(least, most) * x.std() * rng.normal(size=x.shape)

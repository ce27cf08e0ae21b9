"""The registry of baselines: ways to say how similar two networks are, which PEACE is compared with.

A method takes what was read of queries, gallery and training split, and gives similarities (queries, gallery).
``-inf`` stands for pairs that it cannot compare: they rank below all others, in random order.
Unless a method says so, weights are read folded but otherwise as they were trained: on the trained zoo that was the
stronger form of most baselines, as scales tell of the training.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, wraps
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import numpy as np
from numpy.typing import NDArray

from peace_pipeline.evaluation.readings import Reader, Readings

Similarity = NDArray[np.float64]
Method = Callable[[Readings, Readings, Readings], Similarity]


class Knows(StrEnum):
    """What a method knows of queries and gallery, and nothing else."""

    WEIGHTS = "weights"
    RESPONSES = "responses"
    CARDS = "cards"


@dataclass(frozen=True)
class Baseline:
    """A registered method, what it ``knows``, and what it ``reads`` of each network (``None``: nothing)."""

    name: str
    title: str
    reads: Reader | None
    knows: Knows
    similarity: Method


_BASELINES: dict[str, Baseline] = {}


def baseline(
    title: str, *, reads: Reader | None = None, knows: Knows = Knows.WEIGHTS
) -> Callable[[Method], Method]:
    """Decorator: register a method under its function's name."""

    def add(method: Method) -> Method:
        _BASELINES[method.__name__] = Baseline(method.__name__, title, reads, knows, method)
        return method

    return add


@cache
def all_baselines() -> dict[str, Baseline]:
    """Every baseline by its name: each module beside this one registers its own."""
    for module in iter_modules([str(Path(__file__).parent)]):
        import_module(f"{__package__}.{module.name}")
    return _BASELINES


def within_signature(method: Method) -> Method:
    """Decorator: apply a method to each signature apart; networks of two signatures can't be compared."""

    @wraps(method)
    def apply(queries: Readings, gallery: Readings, train: Readings) -> Similarity:
        similarity = np.full((len(queries), len(gallery)), -np.inf)
        columns, known = gallery.by_signature(), train.by_signature()
        for signature, rows in queries.by_signature().items():
            if signature in columns:
                similarity[np.ix_(rows, columns[signature])] = method(
                    queries.select(rows),
                    gallery.select(columns[signature]),
                    train.select(known.get(signature, [])),
                )
        return similarity

    return apply

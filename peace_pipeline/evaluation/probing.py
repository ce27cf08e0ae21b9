"""Linear probes: how much of what is known of networks a linear map reads off their vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import Ridge

from peace_pipeline.evaluation.population import Member
from peace_pipeline.evaluation.representations import Mask, Matrix
from peace_pipeline.zoo.listing import TEST, TRAIN, VALIDATION

PENALTIES = tuple(10.0**power for power in range(-4, 4))
DESCRIPTION = (
    "A probe is a ridge regression (of classes: on one column a class) on vectors that are centred and of a total "
    f"variance of 1, fitted on the training split, with the penalty of {PENALTIES[0]:g} … {PENALTIES[-1]:g} that does "
    "best on the validation split; test runs are only scored."
)


@dataclass(frozen=True)
class Sides:
    """Which networks a probe learns from, chooses by, and is scored on."""

    train: Mask
    validation: Mask
    test: Mask

    def of(self, known: Mask) -> Sides:
        """The same without networks of which nothing is known."""
        return Sides(self.train & known, self.validation & known, self.test & known)


def sides_of(members: Sequence[Member]) -> Sides:
    """Networks by the side of the split that their run is on."""
    split = np.array([member.listing.split for member in members], dtype=str)
    return Sides(split == TRAIN, split == VALIDATION, split == TEST)


def fitted(
    vectors: Matrix, target: Matrix, sides: Sides, quality: Callable[[Matrix, Matrix], float]
) -> Matrix:
    """What the probe says of every network: (networks, columns) as ``target``.

    The penalty is that of the best ``quality`` (of truth and prediction) on the validation split, the largest of equal
    ones; where nothing is validated, the middle one.
    """
    known = vectors[sides.train]
    spread = float(np.sqrt(known.var(0).sum())) or 1.0
    probes = [Ridge(penalty).fit(known / spread, target[sides.train]) for penalty in PENALTIES[::-1]]
    chosen = probes[len(probes) // 2]
    if sides.validation.any():
        truth, seen = target[sides.validation], vectors[sides.validation] / spread
        chosen = probes[int(np.argmax([quality(truth, _predicted(probe, seen)) for probe in probes]))]
    return _predicted(chosen, vectors / spread)


def _predicted(probe: Ridge, vectors: Matrix) -> Matrix:
    return np.asarray(probe.predict(vectors)).reshape(len(vectors), -1)


def hits(vectors: Matrix, labels: NDArray[np.str_], sides: Sides) -> Matrix:
    """1 for each network (networks,) whose class the probe names, 0 for the others."""
    classes = np.unique(labels[sides.train])
    one_hot = np.equal.outer(labels, classes).astype(np.float64)

    def accuracy(truth: Matrix, found: Matrix) -> float:
        return float((truth.argmax(1) == found.argmax(1))[truth.any(1)].mean()) if truth.any() else 0.0

    found = classes[fitted(vectors, one_hot, sides, accuracy).argmax(1)]
    return (found == labels).astype(np.float64)


def errors(vectors: Matrix, values: Matrix, sides: Sides) -> Matrix:
    """The squared error of what the probe says of each network's value (networks,)."""

    def closeness(truth: Matrix, found: Matrix) -> float:
        return -float(np.square(truth - found).mean())

    return np.square(fitted(vectors, values[:, None], sides, closeness)[:, 0] - values)

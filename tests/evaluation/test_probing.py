"""What linear probes read off vectors, and by which penalty."""

from __future__ import annotations

import numpy as np

from peace_pipeline.evaluation.probing import PENALTIES, Sides, errors, fitted, hits

RANDOM = np.random.default_rng(0)
SIDE = np.repeat(np.arange(3), 100)
SIDES = Sides(SIDE == 0, SIDE == 1, SIDE == 2)
VECTORS = RANDOM.normal(size=(300, 20))


def test_classes_that_are_there_are_named_and_others_are_not() -> None:
    there = np.where(VECTORS[:, 3] > 0, "yes", "no")
    random = RANDOM.permutation(there)
    assert hits(VECTORS, there, SIDES)[SIDES.test].mean() > 0.8
    assert 0.3 < hits(VECTORS, random, SIDES)[SIDES.test].mean() < 0.7


def test_values() -> None:
    values = VECTORS @ RANDOM.normal(size=20) + 5
    assert errors(VECTORS, values, SIDES)[SIDES.test].mean() < 0.05 * values.var()
    nothing = errors(np.zeros((300, 1)), values, SIDES)[SIDES.test]
    assert np.allclose(nothing, np.square(values - values[SIDES.train].mean())[SIDES.test])


def test_test_runs_have_no_say() -> None:
    labels = np.where(VECTORS[:, 0] > 0, "yes", "no")
    spoiled = np.where(SIDES.test, RANDOM.permutation(labels), labels)
    one, other = (np.equal.outer(each, ["no", "yes"]).astype(float) for each in (labels, spoiled))

    def quality(truth: np.ndarray, found: np.ndarray) -> float:
        return -float(np.square(truth - found).sum())

    assert np.array_equal(fitted(VECTORS, one, SIDES, quality), fitted(VECTORS, other, SIDES, quality))


def test_the_penalty_is_that_of_the_best_on_the_validation_split() -> None:
    asked = []

    def quality(truth: np.ndarray, found: np.ndarray) -> float:
        asked.append(float(found.std()))
        return asked[-1]

    said = fitted(VECTORS, VECTORS[:, :1], SIDES, quality)
    assert len(asked) == len(PENALTIES)
    assert said[SIDES.validation].std() == max(asked)

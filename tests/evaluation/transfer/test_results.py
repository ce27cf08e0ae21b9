"""Intervals over targets and seeds."""

from __future__ import annotations

import numpy as np
import pytest

from peace_pipeline.evaluation.transfer.results import nested


def test_intervals_hold_the_mean_of_new_targets_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for trial in range(100):
        values = rng.normal(size=(15, 1)) + 0.5 * rng.normal(size=(15, 3))
        found = nested(values, trial)
        held += found.low <= 0 <= found.high
    assert held >= 85


def test_seeds_of_one_target_are_not_as_many_targets() -> None:
    levels = np.array([0.0, 1.0])[:, None]
    few = nested(np.repeat(levels, 50, 1), 0)
    assert (few.low, few.mean, few.high) == pytest.approx((0, 0.5, 1))

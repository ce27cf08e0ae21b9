"""Measures of a choice, by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from peace_pipeline.evaluation.transfer.outcomes import HIGHER, Outcomes

STEPS = (0, 20, 40)
CURVES = np.array(
    [[0.0, 0.5, 1.0], [0.0, 0.8, 0.8], [0.2, 0.2, 0.2], [0.0, 0.3, 0.6]]
)  # the last from scratch
VALIDATION = np.array([[0, 0, 0.7], [0, 0, 0.9], [0, 0, 0.1], [0, 0, 0.6]])
ALIKE = np.array([3, 3, 3])
OUTCOMES = Outcomes(
    STEPS,
    3,
    CURVES[None, None],
    CURVES[None, None] / 2,
    VALIDATION[None, None],
    np.full((1, 1, 4), 0.01),
    ALIKE,
)


def test_of_each_network() -> None:
    assert OUTCOMES.goal == pytest.approx([0.6])
    assert OUTCOMES.area[0, 0] == pytest.approx([0.5, 0.6, 0.2, 0.3])
    assert OUTCOMES.steps_to_goal[0, 0].tolist() == [40, 20, 40, 40]


def test_the_measured_step_that_is_nearest_to_the_early_one() -> None:
    assert OUTCOMES.early == 20
    assert replace(OUTCOMES, steps=(0, 8, 30)).early == 30


def test_of_a_choice() -> None:
    found = OUTCOMES.of(np.array([[[[0, 1]]]]))
    assert found.keys() == HIGHER.keys()
    expected = {
        "area": 0.55, "early": 0.65, "accuracy": 0.9, "f1": 0.45, "steps": 30, "seconds": 0.3,
        "best": 0.8,
    }  # fmt: skip
    assert {name: values.item() for name, values in found.items()} == pytest.approx(expected)
    assert OUTCOMES.curve(np.array([[[[0, 1]]]])) == pytest.approx([0, 0.65, 0.9])


def test_of_a_choice_by_lot_the_mean_over_its_draws() -> None:
    found = OUTCOMES.of(np.array([[[[0, 1], [2, 2]]]]))
    assert found["area"].item() == pytest.approx((0.55 + 0.2) / 2)
    assert found["best"].item() == pytest.approx((0.8 + 0.2) / 2)


def test_what_cannot_read_a_target() -> None:
    curves = CURVES.copy()
    curves[2] = np.nan
    outcomes = Outcomes(
        STEPS, 3, curves[None, None], curves[None, None], VALIDATION[None, None], OUTCOMES.seconds, ALIKE
    )
    assert outcomes.possible.tolist() == [[[True, True, False]]]
    assert np.isnan(outcomes.area[0, 0, 2])
    assert np.isnan(outcomes.steps_to_goal[0, 0, 2])

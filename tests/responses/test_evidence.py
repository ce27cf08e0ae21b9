"""LogME against another way to compute it, and its leave-one-out accuracy against leaving examples out."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import BayesianRidge

from peace_pipeline.responses.evidence import evidence

RNG = np.random.default_rng(0)
LABELS = np.repeat([0, 1, 2], 20)


def features(signal: float) -> np.ndarray:
    """Features (60, 8) of which the first three tell the label."""
    values = RNG.normal(size=(60, 8))
    values[:, :3] += signal * np.eye(3)[LABELS]
    return values


def ridge(values: np.ndarray, label: int) -> BayesianRidge:
    model = BayesianRidge(
        max_iter=500, tol=1e-9, fit_intercept=False, compute_score=True,
        alpha_1=0, alpha_2=0, lambda_1=0, lambda_2=0,
    )  # fmt: skip
    return model.fit(values, (label == LABELS).astype(float))


def test_it_is_that_of_bayesian_ridge_regression() -> None:
    values = features(1.0)
    expected = np.mean([ridge(values, label).scores_[-1] for label in range(3)]) / 60
    assert evidence(values, LABELS, steps=200).logme == pytest.approx(expected, rel=1e-4)
    assert evidence(values, LABELS).logme == pytest.approx(expected, rel=1e-2)


def test_accuracy_is_on_examples_that_were_left_out() -> None:
    """Of ridge regressions with the same strength, each without one example."""
    values = features(1.0)
    strengths = [model.lambda_ / model.alpha_ for model in (ridge(values, label) for label in range(3))]
    right = 0
    for place in range(60):
        rest = np.arange(60) != place
        said = []
        for label, strength in enumerate(strengths):
            x, y = values[rest], (LABELS[rest] == label).astype(float)
            said.append(values[place] @ np.linalg.solve(x.T @ x + strength * np.eye(8), x.T @ y))
        right += int(np.argmax(said)) == LABELS[place]
    assert 0.4 < right / 60 < 0.95
    assert evidence(values, LABELS, steps=200).accuracy == pytest.approx(right / 60)


def test_features_that_tell_are_preferred() -> None:
    clear, faint = evidence(features(3.0), LABELS), evidence(features(0.5), LABELS)
    assert clear.logme > faint.logme
    assert clear.accuracy > faint.accuracy


def test_more_features_than_examples_and_none_that_differ() -> None:
    wide = evidence(RNG.normal(size=(60, 200)), LABELS)
    assert np.isfinite(wide.logme)
    assert wide.accuracy < 0.6, "labels have nothing to do with them"
    assert np.isfinite(evidence(np.zeros((60, 4)), LABELS).logme)

"""LogME and LEEP against other ways to compute them."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import BayesianRidge

from peace_pipeline.evaluation.transfer.transferability import leep, logme

RNG = np.random.default_rng(0)
LABELS = np.repeat([0, 1, 2], 20)


def features(signal: float) -> np.ndarray:
    """Features (60, 8) of which the first three tell the label."""
    values = RNG.normal(size=(60, 8))
    values[:, :3] += signal * np.eye(3)[LABELS]
    return values


def test_logme_is_the_evidence_of_bayesian_ridge_regression() -> None:
    values = features(1.0)
    ridge = BayesianRidge(
        max_iter=500, tol=1e-9, fit_intercept=False, compute_score=True,
        alpha_1=0, alpha_2=0, lambda_1=0, lambda_2=0,
    )  # fmt: skip
    evidence = [ridge.fit(values, (label == LABELS).astype(float)).scores_[-1] for label in range(3)]
    assert logme(values, LABELS, steps=200) == pytest.approx(np.mean(evidence) / 60, rel=1e-4)
    assert logme(values, LABELS) == pytest.approx(logme(values, LABELS, steps=200), rel=1e-2)


def test_logme_prefers_features_that_tell() -> None:
    assert logme(features(3.0), LABELS) > logme(features(0.5), LABELS)


def test_logme_of_more_features_than_examples() -> None:
    wide = RNG.normal(size=(60, 200))
    assert np.isfinite(logme(wide, LABELS))
    assert np.isfinite(logme(np.zeros((60, 4)), LABELS))


def test_leep_by_hand() -> None:
    sure = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    unsure = np.full((4, 2), 0.5)
    crossed = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    found = leep(np.stack([sure, unsure, crossed]), np.array([0, 0, 1, 1]))
    one_third = (np.log(1) + np.log(1 / 3) + 2 * np.log(2 / 3)) / 4
    assert found == pytest.approx([0, np.log(0.5), one_third], abs=1e-9)

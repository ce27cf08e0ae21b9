"""LogME against another way to compute it, and its leave-one-out accuracy against leaving examples out."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import BayesianRidge

from peace_pipeline.responses.evidence import evidence, logme

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


def test_logme_is_the_evidence_of_bayesian_ridge_regression() -> None:
    values = features(1.0)
    expected = np.mean([ridge(values, label).scores_[-1] for label in range(3)]) / 60
    assert logme(values, LABELS, steps=200) == pytest.approx(expected, rel=1e-4)
    assert logme(values, LABELS) == pytest.approx(expected, rel=1e-2)


def spread(values: np.ndarray) -> float:
    return float(np.sqrt(((values - values.mean(0)) ** 2).mean()))


def test_evidence_is_logme_with_an_intercept_of_features_of_one_scale() -> None:
    values = features(1.0) + 5
    found = evidence(values, LABELS)
    expected = logme(np.column_stack([values / spread(values), np.ones(60)]), LABELS)
    assert found.evidence == pytest.approx(expected)
    for factor in (1e-6, 1e6):
        assert evidence(factor * values, LABELS).evidence == pytest.approx(found.evidence)


def test_where_zero_lies_tells_hardly_anything() -> None:
    """Features that tell stay better than features that are all alike, wherever they lie, and beside a large constant
    as transformers have some."""
    telling, alike = features(3.0), evidence(np.full((60, 8), 2.0), LABELS)
    far = np.column_stack([telling, np.full(60, 1e4)])
    for values in (telling - telling.mean(0), telling + 10, telling + 1000, far):
        found = evidence(values, LABELS)
        assert found.evidence > alike.evidence + 0.3
        assert found.linear > 0.9


def test_how_often_it_is_right_is_on_examples_that_were_left_out() -> None:
    """Of ridge regressions as strong, each without one example."""
    values = features(1.0)
    scaled = np.column_stack([values / spread(values), np.ones(60)])
    strengths = [model.lambda_ / model.alpha_ for model in (ridge(scaled, label) for label in range(3))]
    right = 0
    for place in range(60):
        rest = np.arange(60) != place
        said = []
        for label, strength in enumerate(strengths):
            x, y = scaled[rest], (LABELS[rest] == label).astype(float)
            said.append(scaled[place] @ np.linalg.solve(x.T @ x + strength * np.eye(9), x.T @ y))
        right += int(np.argmax(said)) == LABELS[place]
    assert 0.4 < right / 60 < 0.95
    assert evidence(values, LABELS).linear == pytest.approx(right / 60, abs=1 / 60)


def test_features_that_tell_are_preferred() -> None:
    clear, faint = evidence(features(3.0), LABELS), evidence(features(0.5), LABELS)
    assert clear.evidence > faint.evidence
    assert clear.linear > faint.linear


def test_more_features_than_examples_and_none_that_differ() -> None:
    """Wide features are taken by the products of examples: the same as with as many zeros for examples."""
    values = RNG.normal(size=(60, 200))
    wide = evidence(values, LABELS)
    assert wide.linear < 0.6, "labels have nothing to do with them"
    left, singular, _ = np.linalg.svd(values, full_matrices=False)
    rotated = np.column_stack([left * singular, np.zeros((60, 140))])
    assert logme(values, LABELS) == pytest.approx(logme(rotated, LABELS), rel=1e-9)
    assert logme(left * singular, LABELS) == pytest.approx(logme(values, LABELS), rel=1e-9)
    assert np.isfinite(evidence(np.zeros((60, 4)), LABELS).evidence)

"""The benchmark's fast figures are those that the product's metrics and scikit-learn give one by one."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from benchmarks.peers.scoring import auc, average_precision, figure, ordered, tau, tie_ceiling
from peace_pipeline.evaluation.metrics import retrieve


def test_average_precision_is_the_products() -> None:
    random = np.random.default_rng(0)
    similarity = random.integers(0, 5, (20, 30)).astype(float)
    similarity[0] = -np.inf
    relevant, excluded = random.random((20, 30)) < 0.2, random.random((20, 30)) < 0.1
    relevant[3] = False
    found = average_precision(ordered(similarity, seed=0), relevant, ~excluded)
    scores = retrieve(similarity, relevant, excluded, seed=0)
    assert np.flatnonzero(~np.isnan(found)).tolist() == scores.queries.tolist()
    np.testing.assert_allclose(found[scores.queries], scores.values["map"], rtol=1e-6)


def test_auc_is_scikit_learns_with_ties() -> None:
    random = np.random.default_rng(0)
    positive, negative = random.integers(0, 6, 40).astype(float), random.integers(0, 4, 30).astype(float)
    truth = np.repeat([1, 0], [40, 30])
    assert auc(positive, negative) == pytest.approx(
        roc_auc_score(truth, np.concatenate([positive, negative]))
    )


def test_the_tie_ceiling_is_what_the_truth_with_its_ties_broken_reaches() -> None:
    truth = np.array([0.1, 0.2, 0.2, 0.2, 0.5, 0.5, 0.9])
    broken = truth + np.arange(7) * 1e-6
    assert tau(truth, broken) == pytest.approx(tie_ceiling(truth))


def test_a_figure_is_a_mean_over_seeds_and_what_is_known() -> None:
    found = figure(np.array([[0.0, 1.0, np.nan], [1.0, 1.0, 1.0]]), ["a", "a", "b"])
    assert (found.mean, found.count, found.seeds) == (0.75, 2, (0.5, 1.0))
    assert 0.5 <= found.low <= found.mean <= found.high <= 1
    assert found.low_runs == found.high_runs == 0.75, "one run is drawn again and again"

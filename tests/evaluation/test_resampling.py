"""Intervals over runs, and areas under ROC curves."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from peace_pipeline.evaluation.resampling import Resampling


def test_networks_of_a_run_are_drawn_together() -> None:
    counts = Resampling.of(["a", "a", "b"], seed=0, draws=50).counts
    assert np.array_equal(counts[:, 0], counts[:, 1])
    assert np.array_equal(counts[:, 0] + counts[:, 2], np.full(50, 2))


def test_a_mean_and_its_interval() -> None:
    values = np.random.default_rng(0).normal(1, 1, 400)
    found = Resampling.of([str(i) for i in range(400)], seed=0).mean(values).estimate
    assert found.mean == pytest.approx(values.mean())
    assert found.low < found.mean < found.high
    assert found.high - found.low == pytest.approx(4 * values.std() / 20, rel=0.15)


def test_many_networks_of_few_runs_say_no_more_than_the_runs() -> None:
    values = np.repeat(np.random.default_rng(0).normal(size=10), 30)
    together, apart = (
        Resampling.of(runs, seed=0).mean(values).estimate
        for runs in (np.repeat(np.arange(10), 30).astype(str).tolist(), [str(i) for i in range(300)])
    )
    assert together.high - together.low > 3 * (apart.high - apart.low)


def test_areas_under_the_curve() -> None:
    random = np.random.default_rng(0)
    positive = np.arange(200) % 3 == 0
    scores = np.round(random.normal(size=200) + positive, 1)
    resampling = Resampling.of([str(i) for i in range(200)], seed=0)
    found = resampling.auc(scores, positive)
    assert found.value == pytest.approx(roc_auc_score(positive, scores))
    counts = resampling.counts[0]
    assert found.draws[0] == pytest.approx(roc_auc_score(positive, scores, sample_weight=counts))
    assert (found - found).estimate.high == 0
    assert resampling.auc(-scores, positive).value == pytest.approx(1 - found.value)


def test_a_median_of_which_some_are_infinite() -> None:
    values = np.array([3.0, np.inf, 1.0, 2.0, np.inf])
    resampling = Resampling.of(list("abcde"), seed=0, draws=200)
    found = resampling.median(values)
    assert found.value == 3
    drawn = np.sort(np.repeat(values, resampling.counts[7].astype(int)))
    assert found.draws[7] == drawn[2]
    assert found.estimate.low <= 3 <= found.estimate.high


def test_what_is_not_defined_has_no_interval() -> None:
    found = Resampling.of(["a", "b"], seed=0).ratio(np.zeros(2), np.zeros(2)).estimate
    assert np.isnan(found.mean)
    assert np.isnan(found.low)

"""Classifiers that learn the tasks of training networks."""

from __future__ import annotations

import numpy as np
import pytest

from peace_pipeline.evaluation.baselines.classifiers import PERCENTILES, moments
from peace_pipeline.evaluation.population import cohorts

from .networks import population, similarity


@pytest.mark.parametrize("name", ["meta_classifier", "flattened_mlp"])
def test_networks_of_a_learned_task_are_more_alike(name: str) -> None:
    found = similarity(name, population(2), population(2), population(2))
    task = np.arange(24) % 2
    same = np.equal.outer(task, task)
    assert np.isfinite(found).all()
    assert found[same].mean() > found[~same].mean() + 0.1


def test_a_larger_scale_is_told_from_networks_that_were_not_seen() -> None:
    found = similarity("meta_classifier", population(0), population(1), population(2))
    task = np.arange(24) % 2
    same = np.equal.outer(task, task)
    assert found[same].mean() > found[~same].mean() + 0.1


@pytest.mark.parametrize("name", ["meta_classifier", "flattened_mlp"])
def test_without_training_networks_nothing_can_be_compared(name: str) -> None:
    assert np.isneginf(similarity(name, population(0, 2), population(1, 2))).all()


def test_moments_by_hand() -> None:
    (cohort,) = cohorts(population(0, 2)[:2])
    first = next(iter(cohort.stack.tensors.values())).double().numpy().reshape(2, -1)
    found = moments(cohort)
    assert found[:, 0] == pytest.approx(first.mean(1))
    assert found[:, 1] == pytest.approx(first.var(1))
    assert pytest.approx(np.percentile(first, PERCENTILES, axis=1)) == found[:, 3:8].T

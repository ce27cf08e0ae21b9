"""Every baseline keeps the contract."""

from __future__ import annotations

import numpy as np
import pytest

from peace_pipeline.evaluation.baselines.registry import all_baselines

from .networks import population, similarity


@pytest.mark.parametrize("name", list(all_baselines()))
def test_every_baseline_gives_a_similarity_for_every_pair(name: str) -> None:
    queries, gallery, train = population(0, 3), population(1), population(2)
    found = similarity(name, queries, gallery, train)
    assert found.shape == (6, 24)
    assert not np.isnan(found).any()
    assert np.array_equal(found, similarity(name, queries, gallery, train))


@pytest.mark.parametrize("name", list(all_baselines()))
def test_every_baseline_does_without_training_networks(name: str) -> None:
    assert not np.isnan(similarity(name, population(0), population(1))).any()


@pytest.mark.parametrize("name", list(all_baselines()))
def test_every_baseline_says_what_it_does(name: str) -> None:
    baseline = all_baselines()[name]
    assert baseline.title
    assert (baseline.similarity.__doc__ or "").strip()


@pytest.mark.parametrize("name", ["flattened", "statistics", "statistics_canonical", "statistics_lda"])
def test_other_signatures_rank_below_all_of_the_same(name: str) -> None:
    found = similarity(name, population(0), population(0), population(1))
    assert np.isneginf(found[:12, 12:]).all()
    assert np.isfinite(found[:12, :12]).all()

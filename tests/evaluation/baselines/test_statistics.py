"""Layer statistics, and the discriminants on them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from peace_pipeline.evaluation.population import Listed, cohorts, disguising, in_canonical_form

from .networks import population, similarity

TASK = np.arange(24) % 2


@pytest.mark.parametrize("name", ["statistics", "statistics_canonical"])
def test_an_identical_copy_is_the_most_similar(name: str) -> None:
    found = similarity(name, population(0), population(0), population(1))
    assert np.array_equal(found.argmax(1), np.arange(24))


@pytest.mark.parametrize("name", ["statistics_lda", "statistics_lda_tasks"])
def test_lda_tells_tasks_apart_that_it_was_trained_on(name: str) -> None:
    found = similarity(name, population(0), population(0), population(1))[:12, :12]
    same = TASK[:12, None] == TASK[:12]
    assert found[same].min() > found[~same].max()


@pytest.mark.parametrize("name", ["statistics_lda", "statistics_lda_tasks"])
def test_lda_does_with_few_training_networks(name: str) -> None:
    first, other = population(1)[:2]
    copy = Listed(replace(first.listing, model_id="copy"), replace(first.network, key="copy"))
    train = [first, copy, other]
    assert not np.isnan(similarity(name, population(0), population(0), train)).any()


def test_task_probabilities_compare_architectures() -> None:
    found = similarity("statistics_lda_tasks", population(0), population(0), population(1))
    assert found[TASK[:, None] == TASK].min() > found[TASK[:, None] != TASK].max()


def test_a_disguise_keeps_the_canonical_form_up_to_permutation() -> None:
    hide = disguising(0)
    for cohort in cohorts(population(0)):
        plain, hidden = in_canonical_form(cohort).stack, in_canonical_form(hide(cohort)).stack
        for name, tensor in plain.tensors.items():
            one, other = (values.flatten(1).sort(1)[0] for values in (tensor, hidden.tensors[name]))
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
        assert not torch.equal(cohort.stack.tensors["0.weight"], hidden.tensors["0.weight"])

"""Every baseline keeps the contract; those that should find a copy do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from peace_pipeline.evaluation.baselines import cards
from peace_pipeline.evaluation.baselines.registry import all_baselines
from peace_pipeline.evaluation.population import Population, disguise, in_canonical_form

from ..conftest import CARD, listed, networks_of

CARDS = [
    CARD.format(dataset=d, architecture="mlp", run=f"{d}-s0", seed=0, labels="true") for d in ("cat", "dog")
]


def population(seed: int, count: int = 12) -> Population:
    """As many MLPs and CNNs of two tasks; the second task's weights are larger."""
    found = []
    for architecture in ("mlp", "cnn"):
        for place, network in enumerate(networks_of(architecture, count, seed)):
            task = place % 2
            tensors = {name: value * (1 + task) for name, value in network.tensors.items()}
            larger = replace(network, key=f"{network.key}-{seed}", tensors=tensors)
            fields = {"architecture": architecture, "task": ("cat", "dog")[task], "card": CARDS[task]}
            found.append(listed(larger, **fields))
    return Population.of(found)


NOBODY = Population(())


@pytest.mark.parametrize("name", list(all_baselines()))
def test_every_baseline_gives_a_similarity_for_every_pair(name: str) -> None:
    queries, gallery, train = population(0, 3), population(1), population(2)
    similarity = all_baselines()[name].similarity(queries, gallery, train)
    assert similarity.shape == (6, 24)
    assert not np.isnan(similarity).any()
    assert np.array_equal(similarity, all_baselines()[name].similarity(queries, gallery, train))


@pytest.mark.parametrize("name", list(all_baselines()))
def test_every_baseline_does_without_training_networks(name: str) -> None:
    assert not np.isnan(all_baselines()[name].similarity(population(0), population(1), NOBODY)).any()


@pytest.mark.parametrize("name", ["flattened", "statistics", "statistics_canonical"])
def test_an_identical_copy_is_the_most_similar(name: str) -> None:
    networks = population(0)
    similarity = all_baselines()[name].similarity(networks, networks, population(1))
    assert np.array_equal(similarity.argmax(1), np.arange(24))


@pytest.mark.parametrize("name", ["flattened", "statistics", "statistics_canonical", "statistics_lda"])
def test_other_signatures_rank_below_all_of_the_same(name: str) -> None:
    networks = population(0)
    similarity = all_baselines()[name].similarity(networks, networks, population(1))
    assert np.isneginf(similarity[:12, 12:]).all()
    assert np.isfinite(similarity[:12, :12]).all()


@pytest.mark.parametrize("name", ["statistics_lda", "statistics_lda_tasks"])
def test_lda_tells_tasks_apart_that_it_was_trained_on(name: str) -> None:
    networks = population(0)
    similarity = all_baselines()[name].similarity(networks, networks, population(1))[:12, :12]
    task = np.arange(12) % 2
    same = task[:, None] == task
    assert similarity[same].min() > similarity[~same].max()


def test_task_probabilities_compare_architectures() -> None:
    networks = population(0)
    similarity = all_baselines()["statistics_lda_tasks"].similarity(networks, networks, population(1))
    task = np.arange(24) % 2
    assert similarity[task[:, None] == task].min() > similarity[task[:, None] != task].max()


def test_a_disguise_keeps_the_canonical_form_up_to_permutation() -> None:
    networks = population(0)
    plain, hidden = in_canonical_form(networks), in_canonical_form(disguise(networks, 0))
    for before, after, raw in zip(plain.cohorts, hidden.cohorts, networks.cohorts, strict=True):
        for name, tensor in before.stack.tensors.items():
            one, other = (values.flatten(1).sort(1)[0] for values in (tensor, after.stack.tensors[name]))
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
        assert not torch.equal(raw.stack.tensors["0.weight"], after.stack.tensors["0.weight"])


def test_bm25_finds_the_task_in_full_cards_and_not_in_blanked_ones() -> None:
    networks = population(0)
    full = all_baselines()["bm25"].similarity(networks, networks, NOBODY)
    task = np.arange(24) % 2
    same = task[:, None] == task
    assert full[same].min() > full[~same].max()
    blanked = all_baselines()["bm25_blanked"].similarity(networks, networks, NOBODY)
    assert np.allclose(blanked[same].mean(), blanked[~same].mean())


def test_blanked_cards_hold_no_telling_word() -> None:
    words = cards.telling_words(CARDS)
    assert {"cat", "dog", "image", "classification", "picture", "mlp", "zoo"} <= words
    for card in CARDS:
        text = cards.blank(card, words)
        assert "---" not in text
        assert "cat" not in text.lower()
        assert "dog" not in text.lower()
        assert "network that sorts" in text


@pytest.mark.parametrize(
    "card", ["", "no front matter", "---\n: [broken\n---\nbody", "---\njust text\n---\nbody"]
)
def test_odd_cards_are_read_all_the_same(card: str) -> None:
    assert cards.telling_words([card]) == set()
    assert "---" not in cards.blank(card, set())

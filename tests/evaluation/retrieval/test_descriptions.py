"""Queries in words on a few cards."""

from __future__ import annotations

import numpy as np
import pytest

from peace_pipeline.evaluation.population import Member
from peace_pipeline.evaluation.retrieval.descriptions import (
    BLANKED,
    CHANCE,
    DATASET,
    EVERYTHING,
    JOINED,
    PERFORMANCE,
    TEXT,
    by_description,
    descriptions,
    near_hits,
)

from ..conftest import CARD, listed, networks_of


@pytest.fixture(scope="module")
def members() -> list[Member]:
    """Twelve networks of two datasets and two brackets of accuracy, one of which learned shuffled labels."""
    found = []
    for place, network in enumerate(networks_of("mlp", 12)):
        dataset = ("cat", "dog")[place % 2]
        labels = "shuffled" if place == 0 else "true"
        card = CARD.format(dataset=dataset, architecture="mlp", run=f"r{place}", seed=place, labels=labels)
        each = listed(
            network,
            task=f"image-classification · {dataset}",
            accuracy=(0.5, 0.95)[place % 3 == 0],
            shuffled_labels=place == 0,
            card=card,
        )
        found.append(Member(each.listing, each.network.wiring))
    return found


def test_what_is_described(members: list[Member]) -> None:
    asked = {each.words: each for each in descriptions(members)}
    assert set(asked) == {
        "a network for image classification",
        "a network trained on cat",
        "a network trained on dog",
        "a network with an accuracy below 70%",
        "a network with an accuracy of 90% or more",
        *(
            f"image classification on {dataset} with an accuracy {bracket}"
            for dataset in ("cat", "dog")
            for bracket in ("below 70%", "of 90% or more")
        ),
    }
    assert np.flatnonzero(asked["a network trained on cat"].relevant).tolist() == [2, 4, 6, 8, 10]
    assert np.flatnonzero(asked["a network with an accuracy of 90% or more"].relevant).tolist() == [3, 6, 9]


def test_words_find_what_cards_name_and_nothing_else(members: list[Member]) -> None:
    side = np.array([place % 2 for place in range(12)])
    vectors = np.eye(2)[side]
    grade = by_description(members, vectors, seed=0)
    named = grade.estimate(TEXT, "map", DATASET).mean
    assert named > 0.8
    assert named > grade.estimate(BLANKED, "map", DATASET).mean
    assert named > grade.estimate(CHANCE, "map", DATASET).mean
    assert grade.estimate(JOINED, "map", DATASET).mean > 0.8
    assert grade.estimate(TEXT, "map", PERFORMANCE).mean < 0.8
    assert EVERYTHING in grade.scopes


def test_hits_stand_for_what_is_looked_for() -> None:
    vectors = np.array([[1.0, 0], [1, 0], [0, 1], [0, 1]])
    words = np.array([[2.0, -np.inf, -np.inf, -np.inf], [-np.inf] * 4])
    assert near_hits(words, vectors).tolist() == [[1, 1, 0, 0], [0, 0, 0, 0]]


def test_nothing_to_describe() -> None:
    each = listed(networks_of("mlp", 1)[0], task=None)
    assert by_description([Member(each.listing, each.network.wiring)], np.ones((1, 2)), 0).scopes == {}

"""Which pairs count, by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from peace_pipeline.evaluation.population import Member
from peace_pipeline.evaluation.retrieval.grades import (
    agreement,
    related_task,
    relevance,
    same_function,
    same_profile,
    same_task,
    task_gains,
)
from peace_pipeline.evaluation.retrieval.results import ACROSS, ALL, DISGUISED, SEEN, WITHIN

from ..conftest import listed, networks_of


def members() -> list[Member]:
    """Two networks of a run and one of another run of task a, one with shuffled labels, one of task b."""
    fields = [
        {"task": "a", "run": "1"},
        {"task": "a", "run": "1"},
        {"task": "a", "run": "2"},
        {"task": "a", "run": "3", "shuffled_labels": True},
        {"task": "b", "run": "4"},
    ]
    rows = zip(networks_of("mlp", 5), fields, strict=True)
    pairs = [listed(network, **row) for network, row in rows]
    return [Member(each.listing, each.network.wiring) for each in pairs]


def test_relevance_by_hand() -> None:
    listings = [member.listing for member in members()]
    relevant, excluded = relevance(listings, listings)
    assert np.argwhere(relevant & ~excluded).tolist() == [[0, 2], [1, 2], [2, 0], [2, 1]]
    assert np.argwhere(excluded & ~np.eye(5, dtype=bool)).tolist() == [[0, 1], [1, 0]]


def test_some_of_the_gallery_may_ask() -> None:
    queries = np.array([4, 2])
    similarity = np.array([[0.1, 0.2, 0.3, 0.4, 0.9], [0.5, 0.4, 0.9, 0.2, 0.1]])
    function = same_function(members(), queries, {"peace": similarity}, seed=0)
    assert function.estimate("peace", "recall_at_1").mean == 1
    task = same_task(members(), queries, {"peace": similarity}, seed=0)
    assert task.scopes[ALL]["peace"].queries.tolist() == [1]
    assert task.estimate("peace", "map").mean == 1


def test_queries_look_within_and_across_architectures_and_in_disguise() -> None:
    known = [*members(), *members()]
    both = [
        replace(member, listing=replace(member.listing, architecture=name, run=f"{name}{member.listing.run}"))
        for place, member in enumerate(known)
        for name in [("mlp", "cnn")[place // 5]]
    ]
    queries = np.array([0])
    near = np.array([[0.0, 0, 0.9, 0, 0.8, 0.1, 0.1, 0.1, 0.7, 0.6]])
    far = 1 - near
    seen = np.array([member.listing.task == "a" for member in both])
    found = same_task(both, queries, {"peace": near}, 0, disguised={"peace": far}, seen=seen)
    assert set(found.scopes) == {ALL, WITHIN, ACROSS, DISGUISED, SEEN, "mlp"}
    assert found.estimate("peace", "map", WITHIN).mean == 1
    assert found.estimate("peace", "map", "mlp").mean == 1
    assert found.estimate("peace", "map", ACROSS).mean < 1
    assert found.estimate("peace", "map", DISGUISED).mean < found.estimate("peace", "map").mean


def test_gains_are_the_zoos_grades_of_its_tasks() -> None:
    tasks = [
        "image-classification · digits",
        "image-classification · digits-inverted",
        "t · cats",
        "t · cats",
    ]
    rows = [
        listed(network, task=task).listing for network, task in zip(networks_of("mlp", 4), tasks, strict=True)
    ]
    gains = task_gains(rows, rows)
    assert 0 < gains[0, 1] == gains[1, 0] < 1
    assert gains[0, 0] == gains[2, 3] == 1
    assert gains[0, 2] == 0
    assert task_gains([replace(rows[0], shuffled_labels=True)], rows).sum() == 0


def test_a_related_task_is_worth_less_than_the_same() -> None:
    names = ["digits", "digits-inverted", "digits", "animal-mnist"]
    known = [
        Member(each.listing, each.network.wiring)
        for network, name in zip(networks_of("mlp", 4), names, strict=True)
        for each in [listed(network, task=f"image-classification · {name}")]
    ]
    queries = np.array([0])
    same_first, related_first = (
        related_task(known, queries, {"peace": np.array([row])}, 0).estimate("peace", "ndcg").mean
        for row in ([1.0, 0.5, 0.9, 0.1], [1.0, 0.9, 0.5, 0.1])
    )
    assert same_first == pytest.approx(1)
    assert related_first < same_first
    assert related_task(known[2:], np.array([0]), {"peace": np.zeros((1, 2))}, 0).scopes == {}


def test_agreement_is_kappa_of_what_networks_name() -> None:
    rng = np.random.default_rng(0)
    named = rng.integers(3, size=(4, 300))
    named[1] = named[0]
    half = rng.random(300) < 0.5
    named[2] = np.where(half, named[0], named[2])
    answers = [np.concatenate([[0, 3], np.eye(3)[one].ravel()]) for one in named]
    found = agreement([answers[0]], [*answers, np.empty(0)])[0]
    expected = [cohen_kappa_score(named[0], one) for one in named]
    assert found[:4] == pytest.approx(expected, abs=1e-6)
    assert found[4] == 0
    known = [Member(each.listing, each.network.wiring) for each in map(listed, networks_of("mlp", 4))]
    ranked = {"peace": np.array([[0.0, 0.9, 0.5, 0.1]])}
    assert same_profile(known, np.array([0]), ranked, answers, 0).estimate("peace", "map").mean == 1

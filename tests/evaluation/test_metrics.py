"""Metrics re-derived by hand on small explicit matrices."""

from __future__ import annotations

import numpy as np
import pytest

from peace_pipeline.evaluation.metrics import estimate, fused, ranks, retrieve


def test_graded_relevance_by_hand() -> None:
    similarity = np.array([[0.9, 0.8, 0.7]])
    gains = np.array([[0.25, 0.0, 1.0]])
    scores = retrieve(similarity, gains, seed=0)
    best = 1 + 0.25 / np.log2(3)
    assert scores.values["ndcg"] == pytest.approx([(0.25 + 1 / np.log2(4)) / best])
    assert scores.values["map"] == pytest.approx([(1 + 2 / 3) / 2])


def test_values_by_hand() -> None:
    similarity = np.array([[0.9, 0.8, 0.7, 0.6], [0.1, 0.2, 0.3, 0.4]])
    relevant = np.array([[True, False, True, False], [True, True, False, False]])
    scores = retrieve(similarity, relevant, seed=0)
    assert scores.values["map"] == pytest.approx([(1 / 1 + 2 / 3) / 2, (1 / 3 + 2 / 4) / 2])
    assert scores.values["precision_at_1"] == pytest.approx([1, 0])
    assert scores.values["recall_at_1"] == pytest.approx([0.5, 0])
    assert scores.values["precision_at_5"] == pytest.approx([2 / 5, 2 / 5])
    assert scores.values["recall_at_5"] == pytest.approx([1, 1])


def test_negative_similarities_count_as_any_other() -> None:
    scores = retrieve(np.array([[-0.1, -0.5, -np.inf]]), np.array([[True, False, True]]), seed=0)
    assert scores.values["map"] == pytest.approx([(1 + 2 / 3) / 2])


def test_excluded_items_are_not_in_the_gallery() -> None:
    similarity = np.array([[1.0, 0.9, 0.8, 0.7]])
    relevant = np.array([[True, False, False, True]])
    excluded = np.array([[True, True, False, False]])
    scores = retrieve(similarity, relevant, excluded, seed=0)
    assert scores.values["map"] == pytest.approx([1 / 2])
    assert scores.values["recall_at_1"] == pytest.approx([0])
    assert scores.values["recall_at_5"] == pytest.approx([1])


def test_queries_with_nothing_to_find_are_left_out_and_counted() -> None:
    relevant = np.array([[False, False], [True, False], [False, True]])
    excluded = np.array([[False, False], [False, False], [False, True]])
    scores = retrieve(np.zeros((3, 2)), relevant, excluded, seed=0)
    assert scores.queries.tolist() == [1]
    assert scores.left_out == 2


def test_ranks_are_distinct_and_keep_the_order() -> None:
    placed = ranks(np.array([[0.5, 0.5, 0.9, -np.inf, 0.5]]), seed=3)[0]
    assert sorted(placed) == [1, 2, 3, 4, 5]
    assert placed[2] == 5
    assert placed[3] == 1


def expected_average_precision(relevant: int, total: int) -> float:
    """Average precision of a random order, expected over orders.

    The item at place i is relevant with probability R/N, and then (1 + (i − 1)(R − 1)/(N − 1)) of the first i are.
    """
    i = np.arange(1, total + 1)
    return float(np.mean((1 + (i - 1) * (relevant - 1) / (total - 1)) / i))


def test_a_constant_similarity_scores_as_chance() -> None:
    queries, gallery, found = 4000, 40, 10
    relevant = np.zeros((queries, gallery), dtype=bool)
    relevant[:, :found] = True
    values = retrieve(np.ones((queries, gallery)), relevant, seed=0).values
    assert values["map"].mean() == pytest.approx(expected_average_precision(found, gallery), abs=0.006)
    assert values["precision_at_5"].mean() == pytest.approx(found / gallery, abs=0.012)


def test_intervals_cover_the_mean_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    samples = rng.beta(2, 3, size=(200, 60))
    covered = [found.low <= 0.4 <= found.high for found in (estimate(sample, 0) for sample in samples)]
    assert 0.9 <= np.mean(covered) <= 0.99


def test_intervals_follow_from_the_seed() -> None:
    values = np.random.default_rng(1).random(30)
    assert estimate(values, 5) == estimate(values, 5)
    assert estimate(np.array([0.25]), 0).low == 0.25


def test_ranks_are_joined() -> None:
    one = np.array([[3.0, 2, 1, -np.inf]])
    other = np.array([[2.0, 3, 1, 4]])
    assert fused(one, other)[0] == pytest.approx([1 / 61 + 1 / 63, 1 / 62 + 1 / 62, 1 / 63 + 1 / 64, 1 / 61])


def test_ties_share_their_mean_rank() -> None:
    level = np.array([[1.0, 1, 1, -np.inf]])
    assert fused(level, level)[0] == pytest.approx([2 / 62, 2 / 62, 2 / 62, 0])

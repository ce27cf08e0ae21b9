"""Intervals and tests of a grade, on scores made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from peace_pipeline.evaluation.metrics import Scores
from peace_pipeline.evaluation.retrieval.results import ALL, Grade, knows, title
from peace_pipeline.evaluation.retrieval.tables import chosen


def grade(**values: list[float]) -> Grade:
    """Twenty queries of ten runs, two of each; query by query, repeated."""
    scores = {
        name: Scores({"map": np.tile(column, 20 // len(column)).astype(float)}, np.arange(20), 0)
        for name, column in values.items()
    }
    return Grade("same_task", {ALL: scores}, 0, [f"run{place // 2}" for place in range(20)])


def test_a_run_is_one_witness() -> None:
    found = grade(peace=[1, 1, 0, 0], statistics=[0, 0, 0, 0])
    queries, runs = found.estimate("peace", "map"), found.over_runs("peace", "map")
    assert queries.mean == runs.mean == 0.5
    assert runs.high - runs.low > queries.high - queries.low


def test_a_lead_is_tested_run_by_run() -> None:
    found = grade(peace=[0.9, 0.8], statistics=[0.5, 0.4], bm25=[0.9, 0.8])
    p = found.p_values()
    assert list(p) == ["statistics", "bm25"]
    assert p["statistics"] < 0.01
    assert p["bm25"] == 1
    lead = found.difference_over_runs("peace", "statistics")
    assert [lead.low, lead.mean, lead.high] == pytest.approx([0.4] * 3)


def test_the_best_of_each_kind_is_shown() -> None:
    found = grade(
        peace=[0.9],
        statistics=[0.5],
        flattened=[0.6],
        raw_responses=[0.7],
        bm25=[1],
        hybrid=[0.8],
        chance=[0.1],
    )
    assert chosen(found) == ["peace", "flattened", "raw_responses", "bm25", "hybrid", "chance"]
    function = grade(peace=[1], statistics_canonical=[1], flattened=[0])
    function.scopes[ALL]["statistics_canonical"].values["recall_at_1"] = np.ones(20)
    function.scopes[ALL]["flattened"].values["recall_at_1"] = np.zeros(20)
    assert chosen(found, function)[2] == "statistics_canonical"


def test_every_method_has_a_title_and_says_what_it_knows() -> None:
    assert title("hybrid") == "PEACE and BM25, full cards"
    assert knows("hybrid") == "cards"
    assert knows("peace") is None

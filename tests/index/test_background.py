"""How usual a similarity is in a lake."""

from __future__ import annotations

import numpy as np
import pytest

from peace_pipeline.index.background import Background, background
from peace_pipeline.index.lookup import find
from peace_pipeline.index.search import NoIndex
from peace_pipeline.lake import Lake
from tests.indexed import filled, rows, unanswered

__all__ = ["filled", "unanswered"]


def test_all_pairs_of_a_small_index(filled: Lake) -> None:
    vectors = np.array([row["vector"] for row in rows(filled, "models")])
    found = background(filled)
    assert (found.networks, found.pairs) == (3, 3)
    expected = sorted((vectors @ vectors.T)[np.triu_indices(3, 1)])
    assert found.similarities == pytest.approx(expected, abs=1e-6)


def test_a_sample_of_a_larger_one_is_the_same_each_time(filled: Lake) -> None:
    (similarity,) = background(filled, networks=2).similarities
    assert background(filled, networks=2).similarities.tolist() == [similarity]
    assert similarity in background(filled).similarities


def test_shares() -> None:
    usual = Background(3, np.array([0.1, 0.5, 0.9], np.float32))
    assert [usual.share(value) for value in (0.0, 0.3, 0.7, 0.95)] == pytest.approx([1, 2 / 3, 1 / 3, 0])
    assert Background(1, np.array([], np.float32)).share(0.5) is None


def test_by_answers_those_count_that_were_run(unanswered: Lake) -> None:
    assert background(unanswered, "responses").pairs == 0


def test_a_lake_without_index(lake: Lake) -> None:
    with pytest.raises(NoIndex):
        background(lake)


def test_answers_say_how_usual_they_are(filled: Lake) -> None:
    first, second = find(filled, "directory:zoo/a")
    assert first.as_similar is not None
    assert second.as_similar is not None
    assert 1 / 3 - 1e-9 <= first.as_similar <= second.as_similar <= 1
    assert first.uri is not None
    assert first.uri.startswith("file:///")
    (hit,) = find(filled, None, text="animals")
    assert hit.as_similar is None
    assert hit.score is not None
    assert hit.score > 0

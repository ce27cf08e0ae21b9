"""The nearest are exact, however few are compared at a time."""

from __future__ import annotations

import numpy as np
import pytest

from peace_pipeline.atlas.neighbours import nearest


@pytest.mark.parametrize("room", [1, 5000, 2**26])
def test_the_nearest_by_cosine(room: int) -> None:
    vectors = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -np.inf)
    order = np.argsort(-cosines, axis=1)[:, :7]
    found = nearest(vectors, 7, room=room)
    assert np.array_equal(found.places, order)
    assert found.cosines == pytest.approx(np.take_along_axis(cosines, order, axis=1), abs=1e-6)


def test_there_are_no_more_than_there_are() -> None:
    assert nearest(np.eye(3, dtype=np.float32), 10).places.shape == (3, 2)
    assert nearest(np.ones((1, 1), np.float32), 10).places.shape == (1, 0)


def test_the_first_of_equal_vectors() -> None:
    vectors = np.eye(5, dtype=np.float32)[[0, 1, 0, 2, 1, 0]]
    assert nearest(vectors, 3).firsts(vectors).tolist() == [0, 1, 0, 3, 1, 0]
    vectors[2, 3] = 5e-5
    assert nearest(vectors, 3).firsts(vectors).tolist() == [0, 1, 0, 3, 1, 0], "disguised"
    vectors[2, 3] = 5e-4
    assert nearest(vectors, 3).firsts(vectors).tolist() == [0, 1, 2, 3, 1, 0], "another"

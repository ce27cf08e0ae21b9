"""Layouts keep neighbourhoods, and are the same again."""

from __future__ import annotations

import numpy as np
import pytest

from peace_pipeline.atlas.layout import lay_out
from peace_pipeline.atlas.neighbours import Neighbours, nearest


def two_groups(count: int) -> np.ndarray:
    """Vectors about one of two directions, in turn."""
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(count, 8)) * 0.1
    vectors[np.arange(count), np.arange(count) % 2] += 1
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def laid_out(vectors: np.ndarray, k: int = 14) -> np.ndarray:
    return lay_out(vectors, nearest(vectors, k), seed=0)


def test_groups_lie_apart() -> None:
    vectors = two_groups(120)
    places = laid_out(vectors)
    assert places.shape == (120, 2)
    assert np.array_equal(laid_out(vectors), places)
    first, second = places[::2], places[1::2]
    apart = np.linalg.norm(first.mean(axis=0) - second.mean(axis=0))
    assert apart > 2 * max(first.std(axis=0).max(), second.std(axis=0).max())


def test_of_many_networks_the_neighbours_that_are_given_are_kept() -> None:
    """From 4,096 on UMAP looks for none itself."""
    vectors = two_groups(4200)
    others = Neighbours(*(part[::-1] for part in nearest(vectors, 5)))
    assert not np.array_equal(lay_out(vectors, others, seed=0), laid_out(vectors, 5))


@pytest.mark.parametrize("count", [8, 16])
def test_copies_lie_in_one_place(count: int) -> None:
    vectors = np.concatenate([two_groups(count - 3), two_groups(3)])
    vectors[-1] *= 1 + 1e-7
    places = laid_out(vectors)
    assert np.array_equal(places[-3:], places[:3])
    assert len(np.unique(places, axis=0)) == count - 3


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("count", [1, 2, 3, 9, 10, 15])
def test_a_few_networks(count: int) -> None:
    places = laid_out(two_groups(count))
    assert places.shape == (count, 2)
    assert np.isfinite(places).all()

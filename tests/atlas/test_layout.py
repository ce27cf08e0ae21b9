"""Layouts keep neighbourhoods, and are the same again."""

from __future__ import annotations

import numpy as np
import pytest

from peace_pipeline.atlas.layout import lay_out


def two_groups(count: int) -> np.ndarray:
    """Vectors about one of two directions, in turn."""
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(count, 8)) * 0.1
    vectors[np.arange(count), np.arange(count) % 2] += 1
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_groups_lie_apart_also_where_only_a_sample_is_fitted() -> None:
    vectors = two_groups(120)
    places = lay_out(vectors, seed=0, fitted=80)
    assert places.shape == (120, 2)
    assert np.array_equal(lay_out(vectors, seed=0, fitted=80), places)
    first, second = places[::2], places[1::2]
    apart = np.linalg.norm(first.mean(axis=0) - second.mean(axis=0))
    assert apart > 2 * max(first.std(axis=0).max(), second.std(axis=0).max())


@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_a_few_networks(count: int) -> None:
    places = lay_out(two_groups(count), seed=0)
    assert places.shape == (count, 2)
    assert np.isfinite(places).all()

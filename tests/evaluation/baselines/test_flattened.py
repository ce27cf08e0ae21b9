"""Weights in one vector, of a bounded length."""

from __future__ import annotations

import numpy as np

from peace_pipeline.evaluation.baselines.flattened import values
from peace_pipeline.evaluation.population import cohorts

from .networks import population, similarity


def test_an_identical_copy_is_the_most_similar() -> None:
    found = similarity("flattened", population(0), population(0), population(1))
    assert np.array_equal(found.argmax(1), np.arange(24))


def test_of_a_large_network_some_values_of_every_part_are_read() -> None:
    cohort = cohorts(population(0))[0]
    whole, some = values(cohort), values(cohort, most=50)
    assert whole.shape == (12, 254)
    assert some.shape == (12, 50)
    places = np.linspace(0, 253, 50).round().astype(int)
    assert np.array_equal(some, whole[:, places])

"""Codes of flattened weights."""

from __future__ import annotations

import numpy as np

from .networks import population, similarity


def test_a_network_is_most_alike_to_itself() -> None:
    found = similarity("autoencoder", population(0), population(0), population(1))
    assert (found[:12, :12].argmax(1) == np.arange(12)).all()
    assert np.isneginf(found[:12, 12:]).all()

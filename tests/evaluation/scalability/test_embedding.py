"""Chains of any size."""

from __future__ import annotations

import pytest

from peace_pipeline.evaluation.scalability.embedding import chain


@pytest.mark.parametrize("weights", [1_000, 30_000])
def test_a_chain_has_about_so_many_weights(weights: int) -> None:
    network = chain(weights)
    assert network.wiring.method == "chain"
    assert abs(network.size / weights - 1) < 0.1

"""Which promises are missed, and that the page says so."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from peace_pipeline.evaluation.invariance import Invariance
from peace_pipeline.evaluation.page import render
from peace_pipeline.evaluation.symmetry.page import page
from peace_pipeline.evaluation.symmetry.results import Results

GOOD = Invariance(
    networks=32,
    std=1.0,
    still={torch.float64: {"permutation": 1e-12}, torch.float32: {"permutation": 1e-5}},
    broken={0.25: 0.3, 0.5: 0.5, 0.75: 0.6, 1.0: 0.7},
    noise=0.05,
)
MOVED = replace(GOOD, still={torch.float64: {"permutation": 1e-12}, torch.float32: {"permutation": 2e-3}})
BLIND = replace(GOOD, broken={0.25: 0.1, 0.5: 0.2, 0.75: 0.3, 1.0: 0.4})
RESTLESS = replace(GOOD, noise=0.2)


@pytest.mark.parametrize(
    ("own", "family", "missed"),
    [
        (GOOD, GOOD, 0),
        (MOVED, GOOD, 1),
        (GOOD, MOVED, 1),
        (BLIND, GOOD, 1),
        (RESTLESS, GOOD, 1),
        (GOOD, BLIND, 0),
        (GOOD, RESTLESS, 0),
    ],
)
def test_which_promises_are_missed(own: Invariance, family: Invariance, missed: int) -> None:
    results = Results("v", 0, 32, families={"f": family}, own={"o": own}, too_few=0)
    assert len(results.missed()) == missed
    assert results.figures()["missed"] == missed
    assert ("What misses" in render("title", page(results))) == bool(missed)
    assert results.blind() == (["f"] if family is BLIND else [])
    assert results.restless() == (["f"] if family is RESTLESS else [])

"""Sketches keep what the answers say, for any number of outputs."""

from __future__ import annotations

import pytest
import torch

from peace_pipeline.responses.answers import Answers
from peace_pipeline.responses.sketch import sketch
from peace_pipeline.responses.standard import KINDS, PROBES, SKETCH


def answers(networks: int, outputs: int, kind: str = KINDS[0], seed: int = 0) -> Answers:
    generator = torch.Generator().manual_seed(seed)
    return Answers(kind, 3 * torch.randn(networks, PROBES, outputs, generator=generator))


@pytest.mark.parametrize("outputs", [1, 2, 10, 300])
def test_inner_products_are_those_of_the_probabilities(outputs: int) -> None:
    one = answers(6, outputs)
    mixed = Answers(one.kind, torch.cat([one.outputs, one.outputs + answers(6, outputs, seed=1).outputs / 2]))
    logits = torch.cat([mixed.outputs, torch.zeros_like(mixed.outputs)], 2) if outputs == 1 else mixed.outputs
    exact = torch.nn.functional.normalize((logits.softmax(2) - 1 / logits.shape[2]).flatten(1), dim=1)
    found = sketch(mixed)
    assert found.shape == (12, SKETCH)
    assert found.norm(dim=1) == pytest.approx(1, abs=1e-5)
    assert ((found @ found.T) - (exact @ exact.T)).abs().max() < 0.3


def test_other_kinds_of_inputs_are_orthogonal() -> None:
    numbers, tokens = (sketch(answers(8, 10, kind)) for kind in KINDS)
    assert (numbers @ tokens.T).abs().max() < 0.3


def test_the_order_of_outputs_counts() -> None:
    one = answers(4, 10)
    other = sketch(Answers(one.kind, one.outputs.flip(2)))
    assert (sketch(one) * other).sum(1).abs().max() < 0.5
    assert torch.equal(sketch(one), sketch(one))

"""Sketches keep what the answers say, for any number of outputs."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch.nn.functional import normalize

from peace_pipeline.responses.answers import Answers
from peace_pipeline.responses.sketch import DIRECTIONS, roots, sketch
from peace_pipeline.responses.standard import KINDS, PROBES, READ_AS, SKETCH


def answers(networks: int, outputs: int, kind: str = KINDS[0], seed: int = 0) -> Answers:
    generator = torch.Generator().manual_seed(seed)
    return Answers(kind, 3 * torch.randn(networks, PROBES, outputs, generator=generator))


def noisy(one: Answers, noise: float) -> Answers:
    return Answers(one.kind, one.outputs + noise * answers(*one.outputs.shape[::2], seed=1).outputs)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("outputs", [1, 2, 10, 300])
def test_inner_products_are_those_of_the_answers(outputs: int, kind: str) -> None:
    one = answers(6, outputs, kind)
    mixed = Answers(kind, torch.cat([one.outputs, noisy(one, 0.5).outputs]))
    directions = torch.from_numpy(load_file(DIRECTIONS)[READ_AS[kind]]).float()
    exact = normalize(torch.einsum("npo,pd->nod", roots(mixed.outputs), directions).flatten(1), dim=1)
    found = sketch(mixed)
    assert found.shape == (12, SKETCH)
    assert found.norm(dim=1) == pytest.approx(1, abs=1e-5)
    assert ((found @ found.T) - (exact @ exact.T)).abs().max() < 0.3


@pytest.mark.parametrize("outputs", [2, 10])
def test_few_outputs_lose_nothing_in_the_first_directions(outputs: int) -> None:
    one = answers(6, outputs)
    directions = torch.from_numpy(np.linalg.qr(np.random.default_rng(0).standard_normal((PROBES, 38)))[0])
    exact = normalize(torch.einsum("npo,pd->nod", roots(one.outputs), directions.float()).flatten(1), dim=1)
    found = sketch(one, directions)
    assert (found @ found.T - exact @ exact.T).abs().max() < 1e-5


def test_other_kinds_of_inputs_are_orthogonal() -> None:
    for one, other in combinations(KINDS, 2):
        assert (sketch(answers(8, 10, one)) @ sketch(answers(8, 10, other)).T).abs().max() < 0.3


def test_the_order_of_outputs_counts() -> None:
    one = answers(4, 10)
    other = sketch(Answers(one.kind, one.outputs.flip(2)))
    assert (sketch(one) * other).sum(1).abs().max() < 0.5
    assert torch.equal(sketch(one), sketch(one))


def test_an_output_more_changes_a_sketch_little() -> None:
    one = answers(4, 9)
    more = Answers(one.kind, torch.cat([one.outputs, torch.full((4, PROBES, 1), -20.0)], 2))
    assert (sketch(one) * sketch(more)).sum(1).min() > 0.999


def test_a_network_that_answers_all_probes_alike_has_no_sketch() -> None:
    one = answers(4, 10)
    alike = Answers(one.kind, one.outputs[:, :1] + 1e-6 * one.outputs)
    assert not sketch(alike).any()

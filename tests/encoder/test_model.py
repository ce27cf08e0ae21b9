"""The encoder on every architecture: still under symmetries, whatever variant it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from peace_pipeline.encoder.config import VARIANTS
from peace_pipeline.encoder.inputs import encoder_input
from peace_pipeline.encoder.outputs import PLACES
from peace_pipeline.evaluation.invariance import assert_embedding_invariant, by_weights
from peace_pipeline.responses.answers import Answers
from peace_pipeline.responses.standard import KINDS, NUMBERS, PROBES
from peace_pipeline.symmetry.network import stacked
from tests.encoder.encoders import ARCHITECTURES, SYMMETRIC, by_key, encoder_of
from tests.networks import as_input, networks_of


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("architecture", SYMMETRIC)
def test_symmetries_leave_the_embedding(architecture: str, dtype: torch.dtype) -> None:
    assert_embedding_invariant(by_weights(encoder_of()), networks_of(architecture, 8), dtype)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_embeds_every_architecture(variant: str, architecture: str) -> None:
    networks = networks_of(architecture, 3)
    found = by_key(encoder_of(VARIANTS[variant]), networks)
    for network in networks:
        embedding = found[network.key]
        assert embedding.network.shape == (VARIANTS[variant].dimension,)
        assert embedding.layers.shape == (len(network.wiring.layers), VARIANTS[variant].token_width)
        for vectors in (embedding.network[None], embedding.layers):
            assert np.isfinite(vectors).all()
            assert np.linalg.norm(vectors, axis=1) == pytest.approx(1, abs=1e-5)
    spread = np.std([embedding.network for embedding in found.values()], axis=0).mean()
    assert (spread > 1e-5) == VARIANTS[variant].weights, "networks are told apart, where weights are heard"


@pytest.mark.parametrize("variant", [name for name, config in VARIANTS.items() if config.canonical])
def test_order_of_neurons_moves_only_what_is_told_their_places(variant: str) -> None:
    encoder, networks = encoder_of(VARIANTS[variant]), networks_of("mlp", 8)
    if VARIANTS[variant].positions:
        with pytest.raises(AssertionError):
            assert_embedding_invariant(by_weights(encoder), networks)
    elif VARIANTS[variant].weights:
        assert_embedding_invariant(by_weights(encoder), networks)


@pytest.mark.parametrize(("variant", "by_answers"), [("weights-alone", False), ("responses-alone", True)])
def test_a_sense_that_an_encoder_lacks_says_nothing(variant: str, by_answers: bool) -> None:
    encoder = encoder_of(VARIANTS[variant])
    stacks = [
        encoder_input(stack, encoder.config)
        for seed in (0, 1)
        for stack in stacked(networks_of("mlp", 3, seed=seed, dtype=torch.float32))
    ]
    told = [Answers(NUMBERS, torch.randn(3, PROBES, 4)) for _ in range(2)]
    with torch.no_grad():
        base = encoder(stacks[:1], told[:1]).networks
        other_answers = encoder(stacks[:1], told[1:]).networks
        other_weights = encoder(stacks[1:], told[:1]).networks
    assert torch.equal(base, other_answers) != by_answers
    assert torch.equal(base, other_weights) == by_answers


def test_every_parameter_is_used() -> None:
    networks = [network for architecture in ARCHITECTURES for network in networks_of(architecture, 3)]
    norm = as_input(
        "norm", {"a.weight": torch.randn(8, 5), "n.weight": torch.randn(8), "b.weight": torch.randn(3, 8)}, {}
    )
    encoder = encoder_of().double().train()
    stacks = stacked([*networks, norm])
    inputs = [encoder_input(stack.to(torch.float64), encoder.config) for stack in stacks]
    kinds = [KINDS[number % len(KINDS)] for number in range(len(stacks))]
    answers = [
        Answers(kind, torch.randn(len(stack), PROBES, 4).double())
        for kind, stack in zip(kinds, stacks, strict=True)
    ]
    embedded = encoder(inputs, answers)
    (embedded.learned * torch.randn_like(embedded.learned)).sum().backward()
    unused = [name for name, parameter in encoder.named_parameters() if parameter.grad is None]
    assert unused == []


def test_a_gpu_may_compute_with_halves() -> None:
    """Mixed precision, as training has it there; here on the CPU."""
    encoder = encoder_of()
    (stack,) = stacked(networks_of("mlp", 3, dtype=torch.float32))
    stack, answers = encoder_input(stack, encoder.config), Answers(KINDS[0], torch.randn(3, PROBES, 4))
    exact = encoder([stack], [answers])
    with torch.autocast("cpu", torch.bfloat16):
        halves = encoder([stack], [answers])
    for one, other in ((exact.learned, halves.learned), (exact.networks, halves.networks)):
        assert (one * other).sum(1).min() > 0.99


def test_of_many_outputs_the_first_are_heard_and_all_are_described() -> None:
    """Attention over a thousand outputs would take gigabytes; those that no token stands for are in the sketch."""
    (stack,) = stacked(networks_of("mlp", 2, dtype=torch.float32))
    told = torch.randn(2, PROBES, 1000)
    encoder = encoder_of()
    with torch.no_grad():
        senses = encoder.perceived([encoder_input(stack, encoder.config)], [Answers(NUMBERS, told)])
        both = encoder.joined(senses)
    assert senses.outputs.shape[1] == PLACES
    assert senses.described.shape[1] == senses.answering.shape[1] == 1000
    assert senses.answering.all()
    assert both.networks.isfinite().all()

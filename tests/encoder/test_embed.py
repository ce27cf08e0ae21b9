"""Networks are embedded alike, alone or in company, in any order; one that cannot be is left out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from peace_pipeline.encoder.config import VARIANTS
from peace_pipeline.encoder.embed import (
    Embedding,
    Unembeddable,
    embed,
    embed_stacks,
    embeddable,
    stack_chunks,
)
from peace_pipeline.responses.answers import Response
from peace_pipeline.responses.standard import NUMBERS, PROBES
from peace_pipeline.symmetry.network import stacked
from tests.encoder.encoders import ARCHITECTURES, by_key, close, encoder_of
from tests.networks import networks_of


@pytest.mark.parametrize("variant", VARIANTS)
def test_company_and_order_do_not_matter(variant: str) -> None:
    networks = [network for architecture in ARCHITECTURES for network in networks_of(architecture, 2)]
    encoder = encoder_of(VARIANTS[variant])
    together, backwards = by_key(encoder, networks), by_key(encoder, networks[::-1])
    for network in networks:
        alone = by_key(encoder, [network])[network.key]
        assert close(alone, together[network.key])
        assert close(alone, backwards[network.key])


def test_double_precision_agrees_with_single() -> None:
    networks = networks_of("resnet", 3)
    single, double = by_key(encoder_of(), networks), by_key(encoder_of(), networks, torch.float64)
    assert all(embedding.network.dtype == np.float64 for embedding in double.values())
    assert all(close(single[key], double[key], 1e-3) for key in single)
    assert not any(np.array_equal(single[key].network, double[key].network) for key in single)


def test_no_networks_have_no_embeddings() -> None:
    assert list(embed(encoder_of(), [])) == []


def test_stacks_are_embedded_in_order() -> None:
    stacks = stacked(networks_of("mlp", 3) + networks_of("cnn", 2) + networks_of("mlp", 2, seed=9))
    encoder = encoder_of()
    found = list(embed_stacks(encoder, stacks))
    assert [embedding.key for embedding in found] == [key for stack in stacks for key in stack.keys]
    alone = embed_stacks(encoder, [piece for stack in stacks for piece in stack.cut(1)])
    assert all(close(a, b) for a, b in zip(found, alone, strict=True))


@pytest.mark.parametrize(
    ("most", "values", "sizes"), [(100, 10**6, [11]), (3, 10**6, [3, 3, 1, 3, 1]), (100, 1, [1] * 11)]
)
def test_chunks_are_bounded_and_keep_the_order(most: int, values: int, sizes: list[int]) -> None:
    stacks = stacked(networks_of("mlp", 7) + networks_of("cnn", 4))
    found = list(stack_chunks(stacks, most, values))
    assert [sum(map(len, chunk)) for chunk in found] == sizes
    keys = [key for chunk in found for stack in chunk for key in stack.keys]
    assert keys == [key for stack in stacks for key in stack.keys]


def test_one_that_cannot_be_embedded_stops_no_other() -> None:
    first, huge, last = networks_of("mlp", 3, dtype=torch.float32)
    huge = replace(huge, tensors={name: value * 1e30 for name, value in huge.tensors.items()})
    found = {each.key: each for each in embed(encoder_of(), [first, huge, last])}
    assert isinstance(found[huge.key], Unembeddable)
    assert embeddable(encoder_of(), [first, huge, last]) == [first, last]
    for network in (first, last):
        alone = by_key(encoder_of(), [network])[network.key]
        embedding = found[network.key]
        assert isinstance(embedding, Embedding)
        assert close(alone, embedding)


def test_an_encoder_of_answers_alone_leaves_out_what_was_not_run() -> None:
    encoder = encoder_of(VARIANTS["responses-alone"])
    ran, silent = networks_of("mlp", 2)
    outputs = np.random.default_rng(0).normal(size=(PROBES, 4)).astype(np.float32)
    told = Response(ran.key, NUMBERS, outputs, "1", "test")
    found = {each.key: each for each in embed(encoder, [ran, silent], responses={ran.key: told})}
    assert isinstance(found[ran.key], Embedding)
    failed = found[silent.key]
    assert isinstance(failed, Unembeddable)
    assert "was not run" in failed.reason
    assert embeddable(encoder, [ran, silent]) == [ran, silent], "as far as can be told before they are run"

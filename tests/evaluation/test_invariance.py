"""The measure passes an encoder that is invariant and catches those that are not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import nn

from peace_pipeline.encoder.config import EncoderConfig
from peace_pipeline.encoder.model import Embedded, Encoder
from peace_pipeline.evaluation.invariance import Invariance, assert_embedding_invariant, measure
from peace_pipeline.symmetry.network import Stack, stacked
from peace_pipeline.symmetry.testing import TOLERANCE

from .conftest import MODULES, networks_of


class Wrong(nn.Module):
    """An encoder by a function of a stack's tensors: (networks, values)."""

    def __init__(self, canonical: bool = True) -> None:
        super().__init__()
        self.config = EncoderConfig(canonical=canonical)

    def vector(self, stack: Stack) -> torch.Tensor:
        raise NotImplementedError

    def forward(self, stacks: Sequence[Stack]) -> Embedded:
        vectors = torch.cat([self.vector(stack) for stack in stacks])
        return Embedded(vectors, vectors, torch.arange(len(vectors)))


class ReadsOneCoordinate(Wrong):
    def vector(self, stack: Stack) -> torch.Tensor:
        return stack.tensors["0.weight"][:, :1, 0].reshape(len(stack), -1)[:, :1]


class Statistics(Wrong):
    def vector(self, stack: Stack) -> torch.Tensor:
        deviations = [tensor.flatten(1).std(1) for tensor in stack.tensors.values()]
        return torch.stack(deviations, 1)


class Constant(Wrong):
    """Nearly the same for all: only relative to the spread does its movement show."""

    def vector(self, stack: Stack) -> torch.Tensor:
        return 1 + 1e-9 * ReadsOneCoordinate.vector(self, stack)  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("architecture", list(MODULES))
def test_the_encoder_is_invariant(architecture: str, dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    assert_embedding_invariant(Encoder(), networks_of(architecture, 16), dtype)


@pytest.mark.parametrize("wrong", [ReadsOneCoordinate, Constant])
def test_reading_a_coordinate_is_caught(wrong: type[Wrong]) -> None:
    with pytest.raises(AssertionError, match="permutation"):
        assert_embedding_invariant(wrong(), networks_of("mlp", 16))


def test_each_symmetry_is_measured_apart() -> None:
    found = of("mlp", Statistics(canonical=False)).still[torch.float64]
    assert found["permutation"] < 1e-10
    assert found["scale"] > 1
    assert found["all"] > 1


def test_what_the_networks_do_not_have_is_left_out() -> None:
    assert of("mlp", Encoder()).still[torch.float32].keys() == {"permutation", "scale", "all"}


def test_each_dtype_has_its_bound() -> None:
    found = of("mlp", Encoder())
    between = replace(found, still={dtype: {"all": 5e-4} for dtype in TOLERANCE})
    assert between.misses(torch.float64) == ["all"]
    assert between.misses(torch.float32) == []
    assert replace(found, still={torch.float64: {"all": float("nan")}}).misses(torch.float64) == ["all"]


def test_statistics_do_not_see_broken_twins() -> None:
    found = of("cnn", Statistics(canonical=False))
    assert max(found.broken.values()) < 1e-5
    assert not found.sees_broken
    assert found.ignores_noise


def test_the_encoder_sees_broken_twins_before_training_the_more_the_more_is_broken() -> None:
    torch.manual_seed(1)
    moved = list(of("mlp", Encoder()).broken.values())
    assert moved == sorted(moved)
    assert moved[0] > 1e-3


def test_networks_of_several_signatures_are_measured_together() -> None:
    torch.manual_seed(1)
    mixed = networks_of("mlp", 5) + networks_of("cnn", 5)
    assert measure(Encoder(), stacked(mixed), 0).networks == 10
    assert_embedding_invariant(Encoder(), mixed)


def of(architecture: str, encoder: nn.Module) -> Invariance:
    """An encoder's measurement on 16 random networks of an architecture."""
    return measure(encoder, stacked(networks_of(architecture, 16)), 0)  # type: ignore[arg-type]

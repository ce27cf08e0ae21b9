"""The measure passes an encoder that is invariant and catches those that are not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from peace_pipeline.encoder.model import Encoder
from peace_pipeline.evaluation.invariance import (
    Embed,
    Invariance,
    assert_embedding_invariant,
    by_weights,
    measure,
)
from peace_pipeline.symmetry.network import Stack, stacked
from peace_pipeline.symmetry.testing import TOLERANCE

from .conftest import MODULES, networks_of


def reads_one_coordinate(stacks: Sequence[Stack], dtype: torch.dtype) -> torch.Tensor:
    """Embeds by a single weight."""
    return torch.cat([stack.tensors["0.weight"][:, :1, 0].reshape(len(stack), -1)[:, :1] for stack in stacks])


def nearly_constant(stacks: Sequence[Stack], dtype: torch.dtype) -> torch.Tensor:
    """Nearly the same for all: only relative to the spread does its movement show."""
    return 1 + 1e-9 * reads_one_coordinate(stacks, dtype)


def statistics(stacks: Sequence[Stack], dtype: torch.dtype) -> torch.Tensor:
    """Embeds by the deviation of each tensor."""
    return torch.cat([
        torch.stack([tensor.flatten(1).std(1) for tensor in stack.tensors.values()], 1) for stack in stacks
    ])  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("architecture", list(MODULES))
def test_the_encoder_is_invariant(architecture: str, dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    assert_embedding_invariant(by_weights(Encoder()), networks_of(architecture, 16), dtype)


@pytest.mark.parametrize("wrong", [reads_one_coordinate, nearly_constant])
def test_reading_a_coordinate_is_caught(wrong: Embed) -> None:
    with pytest.raises(AssertionError, match="permutation"):
        assert_embedding_invariant(wrong, networks_of("mlp", 16))


def test_each_symmetry_is_measured_apart() -> None:
    found = of("mlp", statistics).still[torch.float64]
    assert found["permutation"] < 1e-10
    assert found["scale"] > 1
    assert found["all"] > 1


def test_what_the_networks_do_not_have_is_left_out() -> None:
    assert of("mlp", by_weights(Encoder())).still[torch.float32].keys() == {"permutation", "scale", "all"}


def test_each_dtype_has_its_bound() -> None:
    found = of("mlp", by_weights(Encoder()))
    between = replace(found, still={dtype: {"all": 5e-4} for dtype in TOLERANCE})
    assert between.misses(torch.float64) == ["all"]
    assert between.misses(torch.float32) == []
    assert replace(found, still={torch.float64: {"all": float("nan")}}).misses(torch.float64) == ["all"]


def test_statistics_do_not_see_broken_twins() -> None:
    found = of("cnn", statistics)
    assert max(found.broken.values()) < 1e-5
    assert not found.sees_broken
    assert found.ignores_noise


@pytest.mark.parametrize("seed", range(4))
def test_the_encoder_sees_broken_twins_before_training_the_more_the_more_is_broken(seed: int) -> None:
    torch.manual_seed(seed)
    found = of("mlp", by_weights(Encoder()), count=64)
    moved = list(found.broken.values())
    assert moved == sorted(moved)
    assert found.sees_broken


def test_networks_of_several_signatures_are_measured_together() -> None:
    torch.manual_seed(1)
    mixed = networks_of("mlp", 5) + networks_of("cnn", 5)
    assert measure(by_weights(Encoder()), stacked(mixed), 0).networks == 10
    assert_embedding_invariant(by_weights(Encoder()), mixed)


def of(architecture: str, embed: Embed, count: int = 16) -> Invariance:
    """What is measured on so many random networks of an architecture."""
    return measure(embed, stacked(networks_of(architecture, count)), 0)

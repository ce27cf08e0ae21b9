"""What chance gives has the covariances of a network and none of its units."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from peace_pipeline.comparison.alignment import Layers
from peace_pipeline.comparison.chance import Mixing
from peace_pipeline.comparison.measuring import LayerPair, Measured, measure
from peace_pipeline.comparison.thresholds import Thresholds
from peace_pipeline.evaluation.derivatives import InMemory
from peace_pipeline.symmetry.opening import OpenNetwork
from peace_pipeline.weights.checkpoint import Checkpoint

State = dict[str, torch.Tensor]
RELU = {"hidden_act": "relu"}


def mlp(*widths: int, seed: int = 0) -> State:
    torch.manual_seed(seed)
    layers = [each for sizes in pairwise(widths[:-1]) for each in (nn.Linear(*sizes), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(*widths[-2:])).state_dict()


def network(state: State) -> OpenNetwork:
    return OpenNetwork.of(Checkpoint({"": InMemory(state)}), RELU)


def measured(a: State, b: State) -> Measured:
    return measure(network(a), network(b), Thresholds(0.0, 0.0))[0]


def mixed(state: State, seed: int = 0) -> tuple[Layers, Layers]:
    """A network's layers in one form, and those of one that chance gives."""
    form = measure(network(state), network(mlp(*widths_of(state), seed=99)), Thresholds(0.0, 0.0))[1]
    assert form
    return form.aligned[0].layer, Mixing(form.aligned[0], form.sides[0].shapes).layers(seed)


def widths_of(state: State) -> list[int]:
    weights = [value for value in state.values() if value.dim() == 2]
    return [weights[0].shape[1], *(weight.shape[0] for weight in weights)]


@given(st.integers(2, 40), st.integers(2, 9), st.integers(0, 100))
def test_what_units_read_and_write_together_stays(units: int, outputs: int, seed: int) -> None:
    own, other = mixed(mlp(9, units, outputs), seed)
    mean = own(0)["weight"].mean(0), own(1)["weight"].mean(1)
    written, read = (
        [layers(0)["weight"] - mean[0] for layers in (own, other)],
        [layers(1)["weight"] - mean[1][:, None] for layers in (own, other)],
    )
    assert torch.allclose(*(rows.mT @ rows for rows in written), atol=1e-9)
    assert torch.allclose(*(columns @ columns.mT for columns in read), atol=1e-9)
    assert torch.allclose(*(after @ before for before, after in zip(written, read, strict=True)), atol=1e-9)


def test_no_unit_is_left() -> None:
    own, other = mixed(mlp(30, 40, 20, 4))
    for position in (0, 1):
        a, b = (nn.functional.normalize(layers(position)["weight"]) for layers in (own, other))
        assert (a @ b.mT).abs().max() < 0.9


def test_units_that_a_network_does_not_have_stay_zeros() -> None:
    small, large = network(mlp(12, 10, 3)), network(mlp(12, 25, 3, seed=1))
    form = measure(small, large, Thresholds(0.0, 0.0))[1]
    assert form
    tensors = Mixing(form.aligned[0], form.sides[0].shapes).layers(0)(0)
    assert tensors["weight"].shape == (25, 12)
    assert (tensors["weight"] != 0).any(1).nonzero().flatten().tolist() == list(range(10))
    assert not tensors["bias"][10:].any()


def test_scales_of_units_change_nothing() -> None:
    a = mlp(20, 30, 5)
    generator = torch.Generator().manual_seed(0)
    b = {
        name: value.double() + 0.05 * torch.randn(value.shape, generator=generator)
        for name, value in a.items()
    }
    order = torch.randperm(30, generator=generator)
    found = []
    for factor in (1.0, 300.0):
        scales = factor ** torch.rand(30, generator=generator, dtype=torch.float64)
        disguised = {
            "0.weight": (b["0.weight"] * scales[:, None])[order],
            "0.bias": (b["0.bias"] * scales)[order],
            "2.weight": (b["2.weight"] / scales)[:, order],
            "2.bias": b["2.bias"],
        }
        found.append(measured(a, disguised).similarity)
    assert found[0] == pytest.approx(found[1], abs=1e-6)


def test_where_nothing_can_be_mixed_values_are_in_random_order() -> None:
    """One linear layer, and attention of one head, whose entries may be mixed by anything."""
    torch.manual_seed(0)
    linear = {"weight": torch.randn(6, 8)}
    form = measure(network(linear), network({"weight": torch.randn(6, 8)}), Thresholds(0.0, 0.0))[1]
    assert form
    null = Mixing(form.aligned[0], form.sides[0].shapes)
    assert not null.is_turned(0)
    values = null.layers(0)(0)["weight"].flatten()
    assert (
        values.sort().values.tolist() == form.aligned[0].layer(0)["weight"].flatten().sort().values.tolist()
    )
    assert (values.view(6, 8) != form.aligned[0].layer(0)["weight"]).float().mean() > 0.9
    head = {f"attn.{name}.weight": torch.randn(8, 8) for name in ("q_proj", "k_proj", "v_proj", "o_proj")}
    near = {name: value + 0.01 * torch.randn(8, 8) for name, value in head.items()}
    assert measured(head, near).similarity > 0.95


def test_single_units_are_not_their_own_chance() -> None:
    a = mlp(8, 1, 3)
    b = {name: value + 0.01 * torch.randn(value.shape) for name, value in a.items()}
    assert measured(a, b).similarity > 0.9
    wide = mlp(64, 4, 10)
    cut = {
        "0.weight": wide["0.weight"][2:3],
        "0.bias": wide["0.bias"][2:3],
        "2.weight": wide["2.weight"][:, 2:3],
        "2.bias": wide["2.bias"],
    }
    for first, second in ((wide, cut), (cut, wide)):
        assert measured(first, second).similarity > 0.99


def test_of_small_networks_either_may_come_first() -> None:
    a, b = (mlp(12, 8, 3, seed=seed) for seed in range(2))
    assert measured(a, b).similarity == pytest.approx(measured(b, a).similarity, abs=0.05)


def test_layers_whose_units_are_turned_onto_each_other_have_to_be_nearer() -> None:
    """Linear units may be mixed by anything, those of a ReLU may not."""
    limits = Thresholds(0.0, 0.3)
    pairs = [LayerPair("a", "a", 30, 0.8, 1.0), LayerPair("b", "b", 10, 0.8, 1.0, is_turned=True)]
    found = [Measured((*kept,), 40, (0, 0), 0.0) for kept in (pairs[:1], pairs, pairs[1:])]
    assert [each.bound(limits) for each in found] == pytest.approx([0.3, 0.35, 0.5])
    both = Measured((replace(pairs[0], size=10), pairs[1]), 20, (0, 0), 0.0)
    assert [each.is_clear for each in (found[1], both)] == [True, False]
    for config, doubt in ((RELU, 0.0), ({"hidden_act": "linear"}, 0.2)):
        a, b = (
            OpenNetwork.of(Checkpoint({"": InMemory(mlp(9, 6, 4, seed=seed))}), config) for seed in range(2)
        )
        assert measure(a, b, limits)[0].doubt == pytest.approx(doubt)

"""A wiring is held against the function: what keeps it passes, what claims too much or too little is caught."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from peace_pipeline.symmetry.testing import (
    STRENGTHS,
    assert_invariant,
    assert_module_invariant,
    movement,
    movements,
    spread,
)
from peace_pipeline.symmetry.wiring.inference import infer_wiring
from peace_pipeline.symmetry.wiring.symmetries import LINEAR, PERMUTE, SIGN
from peace_pipeline.symmetry.wiring.tracing import trace
from peace_pipeline.symmetry.wiring.types import Wiring
from tests.networks import infos

INPUTS = torch.randn(6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


class Residual(nn.Module):
    """A user's own module: a stream, a block beside it, two outputs of different shapes, and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.up, self.down = nn.Linear(5, 7), nn.Linear(7, 11), nn.Linear(11, 7)
        self.norm, self.drop = nn.BatchNorm1d(7), nn.Dropout()
        self.head, self.value = nn.Linear(7, 3), nn.Linear(7, 1)

    def forward(self, x: Tensor, scale: float = 1.0) -> dict[str, Tensor]:
        stream = self.embed(x)
        stream = self.drop(stream + self.down(torch.relu(self.up(torch.relu(self.norm(stream))))))
        return {"classes": self.head(stream), "value": scale * self.value(stream).squeeze(1)}


def module_of(dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(0)
    return Residual().to(dtype)


def with_action(wiring: Wiring, size: int, *actions: str) -> Wiring:
    """The wiring with other actions on its groups of this size."""
    changed = {
        name: replace(group, actions=actions) if group.size == size and group.actions else group
        for name, group in wiring.groups.items()
    }
    assert changed != wiring.groups
    return replace(wiring, groups=changed)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_module_of_ones_own(dtype: torch.dtype) -> None:
    module = module_of(dtype)
    wiring = trace(module, INPUTS.to(dtype))
    assert_module_invariant(module, wiring, INPUTS.to(dtype), scale=2.0)
    assert module.training, "it is given back as it was"


@pytest.mark.parametrize("action", [SIGN, LINEAR])
def test_a_wiring_that_claims_too_much(action: str) -> None:
    module = module_of()
    wrong = with_action(trace(module, INPUTS), 11, PERMUTE, action)
    with pytest.raises(AssertionError, match=r"max\|Δ\|/std .* exceeds 1e-05 in float64"):
        assert_module_invariant(module, wrong, INPUTS)


def test_a_wiring_that_leaves_a_tensor_out() -> None:
    module = module_of()
    wiring = trace(module, INPUTS)
    forgotten = replace(wiring, layers=tuple(w for w in wiring.layers if w.layer.name != "value"))
    with pytest.raises(AssertionError, match="permutation"):
        assert_module_invariant(module, forgotten, INPUTS)


def test_a_wiring_built_from_names_and_shapes() -> None:
    def module(act: nn.Module) -> nn.Module:
        return nn.Sequential(nn.Linear(5, 8, bias=False), act, nn.Linear(8, 2)).double()

    shapes = {"0__weight": (8, 5), "2__weight": (2, 8), "2__bias": (2,)}
    wiring = infer_wiring(infos(**shapes), {"hidden_act": "relu"})
    assert_module_invariant(module(nn.ReLU()), wiring, INPUTS)
    with pytest.raises(AssertionError, match="scale"):
        assert_module_invariant(module(nn.GELU()), wiring, INPUTS)


def test_a_wiring_without_a_claim_shows_nothing() -> None:
    module = nn.Linear(5, 2).double()
    with pytest.raises(AssertionError, match="claims no action"):
        assert_module_invariant(module, trace(module, INPUTS), INPUTS)


def test_one_example_has_no_spread() -> None:
    module = module_of()
    with pytest.raises(ValueError, match="two rows"):
        assert_module_invariant(module, trace(module, INPUTS), INPUTS[:1])


def test_functions_of_many_networks() -> None:
    wiring = infer_wiring(infos(**{"0__weight": (8, 5), "1__weight": (4, 8)}), {"hidden_act": "relu"})
    tensors = {
        name: torch.randn(3, *shape).double() for name, shape in (("0.weight", (8, 5)), ("1.weight", (4, 8)))
    }
    assert_invariant(lambda x: x["1.weight"] @ x["0.weight"].relu(), wiring, tensors)
    found = movements(lambda x: x["0.weight"].sort(1).values.sum(1), wiring, tensors)
    assert found.keys() == {"permutation", "scale", "all"} < STRENGTHS.keys()
    assert found["permutation"] < 1e-10 < 0.1 < found["scale"]
    for wrong in (
        lambda x: x["0.weight"],
        lambda x: 1 + 1e-9 * x["0.weight"],
        lambda x: 0 * x["0.weight"] / 0,
    ):
        with pytest.raises(AssertionError):
            assert_invariant(wrong, wiring, tensors)


def test_movements_are_counted_in_spreads() -> None:
    values = torch.tensor([[0.0, 10.0], [2.0, 14.0], [4.0, 18.0]])
    assert float(spread(values)) == pytest.approx(3)
    moved = movement(values, values + torch.tensor([3.0, -6.0]))
    torch.testing.assert_close(moved, torch.tensor([1.0, 2.0]).expand(3, 2))

"""Group elements leave the real forward pass as it is; what only looks like one does not."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call

from peace_pipeline.symmetry.group.actions import act, entries, take
from peace_pipeline.symmetry.group.elements import Element, Strength, Tensors, random_element
from peace_pipeline.symmetry.group.perturbations import add_noise, break_wiring
from peace_pipeline.symmetry.network import stacked
from peace_pipeline.symmetry.wiring.inference import infer_wiring
from peace_pipeline.symmetry.wiring.types import Wiring
from tests.networks import (
    CONFIGS,
    WIRED_AS,
    config_of,
    folded_tensors,
    infos_of,
    inputs_of,
    module_of,
    networks_of,
)

ARCHITECTURES = list(CONFIGS)
SEEDS = st.integers(0, 2**16)


def wired(module: nn.Module, architecture: str, **config: object) -> Wiring:
    return infer_wiring(infos_of(module.state_dict()), config_of(architecture) | config)


def batched(state: Mapping[str, torch.Tensor]) -> Tensors:
    return {name: value[None] for name, value in state.items()}


def run(module: nn.Module, tensors: Mapping[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return functional_call(module, {name: value[0] for name, value in tensors.items()}, (x,))


def folded_into(module: nn.Module, wiring: Wiring, folded: Mapping[str, torch.Tensor]) -> Tensors:
    """The state of ``module`` that computes folded tensors: its norms only add the folded bias."""
    state = batched(module.state_dict())
    for position, layer in enumerate(wiring.layers):
        state[layer.layer.tensors["weight"]] = folded[f"{position}.weight"]
        bias = layer.layer.tensors.get("bias")
        if bias:
            state[bias] = folded[f"{position}.bias"]
        if layer.norm:
            roles, ones = layer.norm.tensors, torch.ones_like(folded[f"{position}.bias"])
            state |= {roles["gain"]: ones, roles["var"]: ones - layer.eps, roles["mean"]: 0 * ones}
            state[roles["shift"]] = folded[f"{position}.bias"]
    return state


def change(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize(("permute", "decades"), [(True, 0.0), (False, 2.0), (True, 2.0)])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@given(seed=SEEDS)
def test_the_function_stays(architecture: str, permute: bool, decades: float, seed: int) -> None:
    module, x = module_of(architecture, seed), inputs_of(architecture)
    wiring = wired(module, architecture)
    assert wiring.method == WIRED_AS[architecture]
    element = random_element(
        wiring,
        1,
        torch.Generator().manual_seed(seed),
        Strength(permute=permute, heads=permute, decades=decades),
        dtype=torch.float64,
    )
    assert bool(element.permutations) == permute
    assert bool(element.scales) == (decades > 0)
    raw, expected = batched(module.state_dict()), module(x).detach()
    assert change(run(module, act(wiring, raw, element), x), expected) < 1e-5
    folded = batched(folded_tensors(wiring, module.state_dict().__getitem__))
    assert change(run(module, folded_into(module, wiring, folded), x), expected) < 1e-5
    acted = act(wiring.folded, folded, element)
    assert change(run(module, folded_into(module, wiring, acted), x), expected) < 1e-5
    assert all(not torch.equal(acted[name], folded[name]) for name in folded if name.endswith("weight"))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_leaving_any_tensor_out_is_caught(architecture: str) -> None:
    module, x = module_of(architecture), inputs_of(architecture)
    wiring, raw = wired(module, architecture), batched(module.state_dict())
    element = random_element(
        wiring, 1, torch.Generator().manual_seed(0), Strength(decades=2.0), dtype=torch.float64
    )
    acted, expected = act(wiring, raw, element), module(x).detach()
    moved = [name for name in raw if not torch.equal(acted[name], raw[name])]
    assert len(moved) >= len(wiring.layers)
    for name in moved:
        assert change(run(module, acted | {name: raw[name]}, x), expected) > 1e-5, name


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@given(seed=SEEDS)
def test_a_broken_twin_is_another_function_of_the_same_values(architecture: str, seed: int) -> None:
    module, x = module_of(architecture, seed), inputs_of(architecture)
    wiring, raw = wired(module, architecture), batched(module.state_dict())
    broken = break_wiring(wiring, raw, 1.0, torch.Generator().manual_seed(seed))
    for name, value in raw.items():
        assert torch.equal(broken[name].flatten().sort().values, value.flatten().sort().values)
    assert change(run(module, broken, x), module(x).detach()) > 1e-3
    whole = break_wiring(wiring, raw, 0.0, torch.Generator().manual_seed(seed))
    assert all(torch.equal(whole[name], raw[name]) for name in raw)


def test_the_share_of_broken_units() -> None:
    wiring, raw = wired(module_of("mlp"), "mlp"), batched(module_of("mlp").state_dict())
    group, *_ = wiring.acting("permute")
    name = wiring.readers(group.name)[0].layer.tensors["weight"]
    two = {key: torch.cat([value, value]) for key, value in raw.items()}
    broken = break_wiring(wiring, two, torch.tensor([0.5, 1.0]), torch.Generator().manual_seed(0))
    moved = (broken[name] != two[name]).any(1).sum(1)
    assert moved.tolist() == [group.size // 2, group.size]


def test_networks_of_a_batch_are_acted_on_apart() -> None:
    (stack,) = stacked(networks_of("cnn", 3))
    wiring = stack.wiring
    element = random_element(
        wiring, 3, torch.Generator().manual_seed(0), Strength(decades=1.0), dtype=torch.float64
    )
    together = act(wiring, stack.tensors, element)
    for row in range(3):
        own = Element(
            {name: index[row : row + 1] for name, index in element.permutations.items()},
            {name: scale[row : row + 1] for name, scale in element.scales.items()},
        )
        alone = act(wiring, {name: value[row : row + 1] for name, value in stack.tensors.items()}, own)
        assert all(torch.equal(alone[name][0], together[name][row]) for name in alone)


def test_arguments_are_left_as_they_are() -> None:
    wiring, raw = wired(module_of("mlp"), "mlp"), batched(module_of("mlp").state_dict())
    before = {name: value.clone() for name, value in raw.items()}
    generator = torch.Generator().manual_seed(0)
    act(wiring, raw, random_element(wiring, 1, generator, Strength(decades=2.0), dtype=torch.float64))
    break_wiring(wiring, raw, 1.0, generator)
    add_noise(raw, 0.1, generator)
    assert all(torch.equal(raw[name], before[name]) for name in raw)


def test_taking_by_hand() -> None:
    tensor, index = torch.tensor([[[1, 2, 3]], [[4, 5, 6]]]), torch.tensor([[2, 0], [1, 1]])
    assert take(tensor, 2, index).tolist() == [[[3, 1]], [[5, 5]]]
    assert take(tensor, 2, index[:1]).tolist() == [[[3, 1]], [[6, 4]]]
    assert take(tensor[:1], 2, index[:1]).tolist() == [[[3, 1]]]
    assert entries(torch.tensor([[2, 0]]), 3).tolist() == [[6, 7, 8, 0, 1, 2]]


def test_noise_is_relative_to_each_tensor_and_network() -> None:
    generator = torch.Generator().manual_seed(0)
    tensors = {"w": torch.randn(2, 100, 100, generator=generator) * torch.tensor([1.0, 50.0]).view(2, 1, 1)}
    noise = add_noise(tensors, torch.tensor([0.1, 0.01]), generator)["w"] - tensors["w"]
    assert noise.flatten(1).std(1).tolist() == pytest.approx([0.1, 0.5], rel=0.05)
    assert add_noise({"b": torch.ones(1, 1)}, 0.1, generator)["b"].isfinite().all()

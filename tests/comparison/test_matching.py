"""Weight matching finds the element that a network was disguised with, and the units of a changed network."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from peace_pipeline.comparison.alignment import Aligned, Layers
from peace_pipeline.comparison.matching import like, match
from peace_pipeline.symmetry.group.actions import act, inverse
from peace_pipeline.symmetry.group.elements import ALL, Element, Tensors, random_element
from peace_pipeline.symmetry.group.perturbations import add_noise
from peace_pipeline.symmetry.network import Network
from peace_pipeline.symmetry.wiring.builder import WiringBuilder
from peace_pipeline.symmetry.wiring.families.blocks import experts
from peace_pipeline.symmetry.wiring.inference import infer_wiring
from peace_pipeline.symmetry.wiring.symmetries import SCALE, SIGN
from peace_pipeline.symmetry.wiring.types import Axis, Group, WiredLayer, Wiring
from peace_pipeline.weights.layers import Layer
from tests.networks import CONFIGS, folded_tensors, infos_of, networks_of


def layers(tensors: Tensors, wiring: Wiring) -> Layers:
    """Folded tensors (batch of one) layer by layer."""
    names = [wired.layer.tensors for wired in wiring.folded.layers]
    return lambda position: {role: tensors[name][0] for role, name in names[position].items()}


def batch(network: Network) -> Tensors:
    return {name: value[None] for name, value in network.tensors.items()}


def element_of(wiring: Wiring, seed: int) -> Element:
    generator = torch.Generator().manual_seed(seed)
    return random_element(wiring.folded, 1, generator, ALL, dtype=torch.float64)


def apart(found: tuple[Aligned, Aligned]) -> float:
    """The largest difference of any layer, relative to its norm."""
    largest = 0.0
    for position in range(len(found[0].wiring.layers)):
        a, b = (torch.cat([x.flatten() for x in side.layer(position).values()]) for side in found)
        largest = max(largest, float((a - b).norm() / b.norm()))
    return largest


@pytest.mark.parametrize("architecture", CONFIGS)
@given(seed=st.integers(0, 2**16))
def test_the_permutations_of_a_disguise_are_found(architecture: str, seed: int) -> None:
    (network,) = networks_of(architecture, 1, seed)
    wiring, tensors = network.wiring, batch(network)
    element = element_of(wiring, seed)
    found = match(wiring, layers(tensors, wiring), layers(act(wiring.folded, tensors, element), wiring))
    assert apart(found) < 1e-9
    assert found[0].permutations.keys() == element.permutations.keys() != set()
    for name, order in element.permutations.items():
        assert torch.equal(found[0].permutations[name], order)


@pytest.mark.parametrize("architecture", CONFIGS)
def test_units_are_found_in_a_disguised_network_with_noise(architecture: str) -> None:
    (network,) = networks_of(architecture, 1)
    wiring, tensors = network.wiring, batch(network)
    element = element_of(wiring, 3)
    noisy = add_noise(tensors, 0.005, torch.Generator().manual_seed(4))
    found = match(wiring, layers(tensors, wiring), layers(act(wiring.folded, noisy, element), wiring))
    assert 1e-3 < apart(found) < 0.5
    for name, order in element.permutations.items():
        assert torch.equal(found[0].permutations[name], order)


@pytest.mark.parametrize("architecture", CONFIGS)
def test_another_network_stays_apart(architecture: str) -> None:
    a, b = networks_of(architecture, 2)
    assert apart(match(a.wiring, layers(batch(a), a.wiring), layers(batch(b), b.wiring))) > 0.7


def chain(activation: str, *sizes: int, seed: int = 0) -> tuple[Wiring, Tensors]:
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for i, (a, b) in enumerate(pairwise(sizes)):
        state[f"{i}.weight"] = torch.randn(b, a, generator=generator, dtype=torch.float64)
        state[f"{i}.bias"] = torch.randn(b, generator=generator, dtype=torch.float64)
    wiring = infer_wiring(infos_of(state), {"hidden_act": activation})
    return wiring, {name: x[None] for name, x in folded_tensors(wiring, state.__getitem__).items()}


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "gelu", "identity"])
@pytest.mark.parametrize("sizes", [(5, 9, 7, 4), (3, 12, 4), (6, 4, 8, 5)])
def test_every_activation(activation: str, sizes: tuple[int, ...]) -> None:
    wiring, tensors = chain(activation, *sizes)
    other = act(wiring.folded, tensors, element_of(wiring, 1))
    assert apart(match(wiring, layers(tensors, wiring), layers(other, wiring))) < 1e-9


def test_what_reads_a_unit_that_nothing_goes_into_does_not_count() -> None:
    wiring, tensors = chain("relu", 5, 8, 6, 4)
    tensors["0.weight"][:, 2], tensors["0.bias"][:, 2] = 0, 0
    other = dict(tensors)
    other["1.weight"] = tensors["1.weight"].clone()
    other["1.weight"][:, :, 2] = 7
    element = element_of(wiring, 2)
    assert (
        apart(match(wiring, layers(tensors, wiring), layers(act(wiring.folded, other, element), wiring)))
        < 1e-9
    )
    other["1.weight"][:, :, 3] = 7
    assert (
        apart(match(wiring, layers(tensors, wiring), layers(act(wiring.folded, other, element), wiring)))
        > 0.1
    )


def test_linear_layers_wider_than_what_they_read_are_mapped_onto_each_other() -> None:
    generator = torch.Generator().manual_seed(0)
    tensors: Tensors = {}
    for position, (read, written) in enumerate(pairwise([6, 16, 16, 16, 16, 5])):
        shape = (1, written, read)
        tensors[f"fc{position}.weight"] = (
            torch.randn(shape, generator=generator, dtype=torch.float64) / read**0.5
        )
        tensors[f"fc{position}.bias"] = torch.randn(1, written, generator=generator, dtype=torch.float64)
    wiring = infer_wiring(
        infos_of({name: value[0] for name, value in tensors.items()}), {"hidden_act": "linear"}
    )
    names = [wired.layer.tensors for wired in wiring.layers]
    folded = {
        f"{position}.{role}": tensors[name]
        for position, own in enumerate(names)
        for role, name in own.items()
    }
    acted = act(wiring.folded, folded, element_of(wiring, 1))
    assert apart(match(wiring, layers(folded, wiring), layers(acted, wiring))) < 1e-9


def test_the_scaled_half_of_a_fused_layer_is_matched() -> None:
    gate, up = (
        Group("gate", 8, "permutable", along="units"),
        Group("up", 8, "permutable", ("scale", "sign"), along="units"),
    )
    groups = [
        Group("in", 4, "fixed"), Group("out", 3, "fixed"), Group("units", 8, "permutable", ("permute",)),
        gate, up, Group("both", 16, "permutable", parts=("gate", "up")),
    ]  # fmt: skip
    fused = Layer("fused", "linear", (16, 4), {"weight": "fused.weight"})
    down = Layer("down", "linear", (3, 8), {"weight": "down.weight"})
    wired = (
        WiredLayer(fused, Axis("both"), Axis("in", dim=1, charge=-1)),
        WiredLayer(down, Axis("out"), Axis("up", dim=1, charge=-1)),
    )
    wiring = Wiring("traced", {group.name: group for group in groups}, wired)
    generator = torch.Generator().manual_seed(0)
    tensors = {
        "0.weight": torch.randn(1, 16, 4, generator=generator, dtype=torch.float64),
        "1.weight": torch.randn(1, 3, 8, generator=generator, dtype=torch.float64),
    }
    acted = act(wiring.folded, tensors, element_of(wiring, 1))
    found = match(wiring, layers(tensors, wiring), layers(acted, wiring))
    assert apart(found) < 1e-9
    again = like(found[0], layers(tensors, wiring))
    assert all(torch.allclose(again.scales[name], scale) for name, scale in found[0].scales.items())


def test_experts_and_the_units_of_each_are_found() -> None:
    shapes = {
        "router": (4, 6),
        "x.gate_proj": (20, 6),
        "x.up_proj": (20, 6),
        "x.down_proj": (6, 20),
        "head": (3, 6),
        "words": (9, 6),
    }
    state = {f"{name}.weight": torch.randn(*shape, dtype=torch.float64) for name, shape in shapes.items()}
    own = [Layer(name, "linear", shape, {"weight": f"{name}.weight"}) for name, shape in shapes.items()]
    net = WiringBuilder(own, {})
    experts(net, "x", "router", net.fixed("stream"), "stream", actions=(SCALE, SIGN))
    net.dense("head", "output", "stream")
    net.table("words", "words.rows", "stream")
    wiring = net.wiring("family")
    tensors = {name: x[None] for name, x in folded_tensors(wiring, state.__getitem__).items()}
    element = element_of(wiring, 1)
    assert element.permutations.keys() == {"x.experts", "x.hidden"}
    acted = act(wiring.folded, tensors, element)
    back = act(wiring.folded, acted, inverse(wiring.folded, element))
    for name, tensor in tensors.items():
        torch.testing.assert_close(back[name], tensor)
    found = match(wiring, layers(tensors, wiring), layers(acted, wiring))
    assert apart(found) < 1e-9


def test_heads_are_matched_once_their_keys_can_be_read() -> None:
    groups = [
        Group("in", 5, "fixed"), Group("stream", 8, "permutable", ("permute",)),
        Group("reduced", 8, "permutable", ("permute",)), Group("heads", 4, "permutable", ("permute",)),
        Group("keys", 4, "permutable", ("mix",), width=2, along="heads"),
        Group("values", 4, "permutable", ("mix",), width=2, along="heads"),
    ]  # fmt: skip
    axes = {
        "words": (Axis("stream"), "in"), "query": (Axis("keys", charge=-1), "stream"),
        "reduction": (Axis("reduced"), "stream"), "key": (Axis("keys"), "reduced"),
        "value": (Axis("values"), "reduced"), "output": (Axis("stream"), "values"),
    }  # fmt: skip
    sizes = {"in": 5}
    wired, tensors = [], {}
    generator = torch.Generator().manual_seed(0)
    for position, (name, (out, into)) in enumerate(axes.items()):
        shape = (8, sizes.get(into, 8))
        layer = Layer(name, "linear", shape, {"weight": f"{name}.weight"})
        wired.append(WiredLayer(layer, out, Axis(into, dim=1, charge=-1)))
        tensors[f"{position}.weight"] = torch.randn(1, *shape, generator=generator, dtype=torch.float64)
    wiring = Wiring("traced", {group.name: group for group in groups}, tuple(wired))
    element = element_of(wiring, 1)
    found = match(wiring, layers(tensors, wiring), layers(act(wiring.folded, tensors, element), wiring))
    assert apart(found) < 1e-9
    assert torch.equal(found[0].permutations["heads"], element.permutations["heads"])

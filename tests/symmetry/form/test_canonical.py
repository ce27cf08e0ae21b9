"""The canonical form: one for all rescalings of a network, and the same function."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from peace_pipeline.symmetry.form.canonical import canonical
from peace_pipeline.symmetry.group.actions import act
from peace_pipeline.symmetry.group.elements import Strength, Tensors, random_element
from peace_pipeline.symmetry.wiring.builder import WiringBuilder
from peace_pipeline.symmetry.wiring.inference import infer_wiring
from peace_pipeline.symmetry.wiring.symmetries import PERMUTE, SCALE
from peace_pipeline.symmetry.wiring.types import Wiring
from peace_pipeline.weights.layers import Layer
from tests.networks import CONFIGS, RELU, infos_of, inputs_of, module_of, networks_of
from tests.symmetry.group.test_actions import change, folded_into, run

TOLERANCE = {torch.float64: 1e-9, torch.float32: 2e-3}


def deep(depth: int, dtype: torch.dtype, seed: int = 0, width: int = 6) -> tuple[Wiring, Tensors]:
    """A chain of ``depth`` layers at the scale of trained ones, as a batch of one."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for i, (a, b) in enumerate(pairwise([width] * (depth + 1))):
        state[f"{i}.weight"] = torch.randn(b, a, generator=generator, dtype=torch.float64) * (2 / a) ** 0.5
        state[f"{i}.bias"] = 0.1 * torch.randn(b, generator=generator, dtype=torch.float64)
    wiring = infer_wiring(infos_of(state), RELU).folded
    return wiring, {name: value[None].to(dtype) for name, value in state.items()}


def apart(a: Tensors, b: Tensors) -> float:
    """The largest difference relative to the largest value of its tensor."""
    assert all(value.isfinite().all() for value in [*a.values(), *b.values()])
    return max(float((a[k] - b[k]).abs().max() / a[k].abs().max().clamp_min(1e-300)) for k in a)


def rescaled(wiring: Wiring, tensors: Tensors, seed: int = 1) -> Tensors:
    dtype = next(iter(tensors.values())).dtype
    generator = torch.Generator().manual_seed(seed)
    return act(
        wiring,
        tensors,
        random_element(wiring, 1, generator, Strength(permute=False, decades=2.0), dtype=dtype),
    )


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("depth", [2, 4, 16, 100])
def test_all_rescalings_have_one_form_at_any_depth(depth: int, dtype: torch.dtype) -> None:
    wiring, tensors = deep(depth, dtype)
    form, other = canonical(wiring, tensors), canonical(wiring, rescaled(wiring, tensors))
    assert apart(tensors, rescaled(wiring, tensors)) > 1
    assert apart(form, other) < TOLERANCE[dtype]


@pytest.mark.parametrize("architecture", CONFIGS)
@given(seed=st.integers(0, 2**16))
def test_form_of_every_architecture(architecture: str, seed: int) -> None:
    (network,) = networks_of(architecture, 1, seed)
    raw, single = network.wiring, network.tensors
    wiring, tensors = raw.folded, {name: value[None] for name, value in single.items()}
    form = canonical(wiring, tensors)
    assert apart(form, canonical(wiring, rescaled(wiring, tensors, seed))) < 1e-9
    assert apart(form, canonical(wiring, form)) < 1e-12
    module, x = module_of(architecture, seed), inputs_of(architecture)
    assert change(run(module, folded_into(module, raw, form), x), module(x).detach()) < 1e-9
    for group in wiring.acting("scale"):
        first = wiring.writers(group.name)[0].layer.tensors
        joined = torch.cat([form[name].reshape(1, group.size, -1) for name in first.values()], -1)
        torch.testing.assert_close(joined.norm(dim=-1), torch.ones(1, group.size, dtype=torch.float64))


@pytest.mark.parametrize("dtype", list(TOLERANCE))
def test_tiny_weights(dtype: torch.dtype) -> None:
    wiring, tensors = deep(3, dtype)
    for name in ("0.weight", "0.bias", "1.bias"):
        tensors[name] = tensors[name] * 1e-15
    form = canonical(wiring, tensors)
    assert apart(form, canonical(wiring, rescaled(wiring, tensors))) < TOLERANCE[dtype]
    assert float(form["0.weight"].abs().max()) > 0.1


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("value", [0.0, 1e-40])
def test_dead_units_keep_their_scale(value: float, dtype: torch.dtype) -> None:
    wiring, tensors = deep(4, dtype)
    for name in ("0.weight", "0.bias", "2.weight", "2.bias"):
        tensors[name][:, 1] = value
    form = canonical(wiring, tensors)
    assert torch.equal(form["0.weight"][:, 1], tensors["0.weight"][:, 1])
    assert torch.equal(form["0.bias"][:, 1], tensors["0.bias"][:, 1])
    assert apart(form, canonical(wiring, form)) < 1e-6
    assert apart(form, canonical(wiring, rescaled(wiring, tensors))) < TOLERANCE[dtype]


def test_large_weights_do_not_overflow() -> None:
    wiring, tensors = deep(3, torch.float32)
    tensors["0.weight"] = tensors["0.weight"] * 1e25
    form = canonical(wiring, tensors)
    assert float(form["0.weight"].norm(dim=-1).max()) <= 1 + 1e-5


def test_without_scaling_nothing_changes() -> None:
    _, tensors = deep(3, torch.float64)
    wiring = infer_wiring(infos_of({k: v[0] for k, v in tensors.items()}), {"hidden_act": "gelu"}).folded
    form = canonical(wiring, tensors)
    assert all(torch.equal(form[name], tensors[name]) for name in tensors)


def test_a_group_is_first_written_through_its_concatenation() -> None:
    """One layer writes two streams at once; the first is written again by what has read it."""
    shapes = {"both": (10, 5), "up": (7, 6), "down": (6, 7), "out": (3, 6), "other": (3, 4)}
    layers = [Layer(name, "linear", shape, {"weight": name}) for name, shape in shapes.items()]
    net = WiringBuilder(layers, {})
    stream, other = net.group("stream", PERMUTE, SCALE, size=6), net.group("other", PERMUTE, size=4)
    net.dense("both", net.joined("streams", [stream, other]), "input")
    net.mlp("up", "down", stream, stream, "relu")
    net.dense("out", "output", stream)
    net.dense("other", "outputs", other)
    wiring = net.wiring("family").folded
    generator = torch.Generator().manual_seed(0)
    tensors = {
        wired.weight: torch.randn(1, *wired.layer.shape, generator=generator, dtype=torch.float64)
        for wired in wiring.layers
    }
    form = canonical(wiring, tensors)
    torch.testing.assert_close(form["0.weight"][0, :6].norm(dim=1), torch.ones(6, dtype=torch.float64))
    assert apart(tensors, rescaled(wiring, tensors)) > 1
    assert apart(form, canonical(wiring, rescaled(wiring, tensors))) < 1e-12

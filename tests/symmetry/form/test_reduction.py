"""Large groups are cut to some neurons: the same in all layers, and the same however the network is disguised."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from peace_pipeline.encoder.embed import embed
from peace_pipeline.encoder.model import Encoder
from peace_pipeline.symmetry.form.reduction import Reduction
from peace_pipeline.symmetry.form.reduction_limits import USUAL, Limits
from peace_pipeline.symmetry.group.actions import act
from peace_pipeline.symmetry.group.elements import Strength, random_element
from peace_pipeline.symmetry.network import Network
from peace_pipeline.symmetry.wiring.builder import WiringBuilder
from peace_pipeline.symmetry.wiring.inference import infer_wiring
from peace_pipeline.symmetry.wiring.symmetries import PERMUTE
from peace_pipeline.symmetry.wiring.types import Wiring
from peace_pipeline.weights.errors import ExcessiveSize
from peace_pipeline.weights.layers import Layer
from peace_pipeline.weights.tensors import Part, TensorInfo
from tests.networks import infos_of

State = dict[str, torch.Tensor]
WIDE = (300, 2048, 1500, 10)
MOST_UNITS = USUAL.most_units
RELU = {"hidden_act": "relu"}


def chain(widths: tuple[int, ...], seed: int = 0, dtype: torch.dtype = torch.float64) -> State:
    """An MLP whose units differ in scale, as trained ones do."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for number, (into, out) in enumerate(pairwise(widths)):
        spread = 0.5 + torch.rand(out, 1, generator=generator, dtype=dtype)
        weight = torch.randn(out, into, generator=generator, dtype=dtype)
        state[f"fc{number}.weight"] = weight * spread / into**0.5
        state[f"fc{number}.bias"] = 0.1 * torch.randn(out, generator=generator, dtype=dtype)
    return state


def reduced(
    state: State, parts: dict[str, Part] | None = None, limits: Limits = USUAL
) -> tuple[Wiring, Reduction, State]:
    """Wiring, reduction and what is kept of a state, of whose tensors ``parts`` are had."""
    parts = parts or {}
    infos = {
        info.name: TensorInfo(info.name, info.shape, info.dtype, part=parts.get(info.name))
        for info in infos_of(state)
    }
    had = {
        name: value.index_select(parts[name].axis, parts[name].index) if name in parts else value
        for name, value in state.items()
    }
    wiring = infer_wiring(infos.values(), RELU)
    reduction = Reduction(wiring, infos, limits)
    dtype = next(iter(state.values())).dtype
    return (
        wiring,
        reduction,
        reduction.tensors(lambda name, kind: had[name].to(kind or had[name].dtype), dtype),
    )


def test_small_networks_are_kept_whole() -> None:
    state = chain((300, 400, 10))
    wiring, reduction, kept = reduced(state)
    assert reduction.wiring == wiring
    assert all(
        torch.equal(kept[f"{n}.{role}"], state[f"fc{n}.{role}"])
        for n in (0, 1)
        for role in ("weight", "bias")
    )


def test_one_choice_of_neurons_for_all_layers() -> None:
    state = chain(WIDE)
    _, reduction, kept = reduced(state)
    groups = {name: (group.size, group.whole) for name, group in reduction.wiring.groups.items()}
    assert groups == {
        "input": (300, None),
        "fc0": (MOST_UNITS, 2048),
        "fc1": (MOST_UNITS, 1500),
        "output": (10, None),
    }
    assert [wired.layer.shape for wired in reduction.wiring.layers] == [(256, 300), (256, 256), (10, 256)]
    assert {name: tuple(value.shape) for name, value in kept.items()}["1.weight"] == (256, 256)
    rows = [state["fc0.bias"].tolist().index(value) for value in kept["0.bias"].tolist()]
    columns = [state["fc1.bias"].tolist().index(value) for value in kept["1.bias"].tolist()]
    assert len(set(rows)) == len(set(columns)) == MOST_UNITS
    assert torch.equal(kept["0.weight"], state["fc0.weight"][rows])
    assert torch.equal(kept["1.weight"], state["fc1.weight"][columns][:, rows])
    assert torch.equal(kept["2.weight"], state["fc2.weight"][:, columns])


def vector(state: State, encoder: Encoder) -> torch.Tensor:
    dtype = next(iter(state.values())).dtype
    _, reduction, kept = reduced(state)
    (embedding,) = embed(encoder, [Network("network", reduction.wiring, kept)], dtype)
    return torch.from_numpy(embedding.network)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-4), (torch.float32, 1e-3)])
def test_disguised_networks_are_reduced_to_the_same_embedding(dtype: torch.dtype, bound: float) -> None:
    torch.manual_seed(0)
    encoder = Encoder()
    networks = [chain(WIDE, seed, dtype) for seed in range(6)]
    embedded = torch.stack([vector(network, encoder) for network in networks])
    spread = embedded.std(0).mean()
    wiring, *_ = reduced(networks[0])
    generator = torch.Generator().manual_seed(1)
    for decades in (0.0, 2.0):
        element = random_element(wiring, 1, generator, Strength(decades=decades), dtype=dtype)
        if dtype == torch.float32:  # other factors round, and near ties of norm then change places
            element = replace(
                element, scales={name: 2 ** s.log2().round() for name, s in element.scales.items()}
            )
        batched = {name: value[None] for name, value in networks[0].items()}
        twin = {name: value[0] for name, value in act(wiring, batched, element).items()}
        assert (vector(twin, encoder) - embedded[0]).abs().max() / spread < bound


def test_each_layer_of_an_unknown_network_is_cut_for_itself() -> None:
    state = {
        "a.weight": torch.randn(2000, 1000, dtype=torch.float64),
        "z.weight": torch.randn(1200, 900),
        "small.weight": torch.randn(9, 7),
    }
    wiring, reduction, kept = reduced(state)
    assert wiring.method == "independent"
    shapes = {wired.layer.name: wired.layer.shape for wired in reduction.wiring.layers}
    assert shapes == {"a": (256, 256), "z": (256, 256), "small": (9, 7)}
    (position,) = (i for i, wired in enumerate(wiring.layers) if wired.layer.name == "a")
    norms = torch.isin(state["a.weight"], kept[f"{position}.weight"]).sum(1).sort().values
    assert norms[-MOST_UNITS:].tolist() == [256] * 256
    shuffled = {**state, "a.weight": state["a.weight"][torch.randperm(2000)][:, torch.randperm(1000)]}
    assert torch.equal(reduced(shuffled)[2][f"{position}.weight"], kept[f"{position}.weight"])


def test_bfloat16_is_cut_before_it_is_converted() -> None:
    state = {"a.weight": torch.randn(2000, 1000).bfloat16(), "z.weight": torch.randn(1200, 900).bfloat16()}
    infos = {info.name: info for info in infos_of(state)}
    asked = []

    def read(name: str, dtype: torch.dtype | None) -> torch.Tensor:
        asked.append(dtype)
        return state[name]

    kept = Reduction(infer_wiring(infos.values(), {}), infos).tensors(read)
    assert asked == [None, None]
    assert {value.dtype for value in kept.values()} == {torch.float32}


def test_many_layers_leave_fewer_neurons() -> None:
    state = {f"l{i}.weight": torch.randn(1100 + i, 1000 - i) for i in range(3)}
    _, reduction, _ = reduced(state, limits=Limits(largest_network=3 * 64**2))
    assert {wired.layer.shape for wired in reduction.wiring.layers} == {(64, 64)}
    _, reduction, _ = reduced(state, limits=Limits(largest_network=1))
    assert {wired.layer.shape for wired in reduction.wiring.layers} == {(USUAL.least_units,) * 2}


def test_no_fewer_neurons_are_left_than_the_least() -> None:
    state = {f"l{i}.weight": torch.randn(60 + i, 50 - i) for i in range(3)}
    _, reduction, _ = reduced(state, limits=Limits(100, most_units=40, least_units=16, largest_network=1))
    assert {wired.layer.shape for wired in reduction.wiring.layers} == {(16, 16)}


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_neurons_that_a_budget_left_out_are_in_no_layer(data: st.DataObject) -> None:
    state = chain((12, 40, 30, 5))
    rows = sorted(data.draw(st.sets(st.integers(0, 39), min_size=2)))
    fewer = sorted(data.draw(st.sets(st.sampled_from(rows), min_size=1)))
    parts = {
        "fc0.weight": Part(0, tuple((row, row + 1) for row in rows)),
        "fc0.bias": Part(0, tuple((row, row + 1) for row in fewer)),
        "fc2.weight": Part(0, ((1, 3),)),
    }
    wiring, reduction, kept = reduced(state, parts)
    assert torch.equal(kept["0.weight"], state["fc0.weight"][fewer])
    assert torch.equal(kept["0.bias"], state["fc0.bias"][fewer])
    assert torch.equal(kept["1.weight"], state["fc1.weight"][:, fewer])
    assert torch.equal(kept["2.weight"], state["fc2.weight"][1:3])
    assert torch.equal(kept["2.bias"], state["fc2.bias"][1:3])
    assert reduction.wiring.groups["fc0"].full_size == 40
    assert [reduction.is_sampled(position) for position in range(len(wiring.layers))] == [True, True, True]


def test_a_budget_that_leaves_two_layers_no_neuron_in_common() -> None:
    parts = {"fc0.weight": Part(0, ((0, 5),)), "fc0.bias": Part(0, ((7, 9),))}
    with pytest.raises(ExcessiveSize, match="leaves nothing of fc0"):
        reduced(chain((12, 40, 5)), parts)


def test_heads_of_one_entry_are_chosen_whatever_their_factors() -> None:
    """Maps of one entry are factors, which norms would show: heads are cut in canonical form."""
    heads = MOST_UNITS + 44
    shapes = {"in": (9, 5), "q": (heads, 9), "k": (heads, 9), "v": (heads, 9), "o": (9, heads), "out": (3, 9)}
    net = WiringBuilder([Layer(n, "linear", s, {"weight": n}) for n, s in shapes.items()], {})
    stream = net.group("stream", PERMUTE)
    net.dense("in", stream, "input")
    net.attention(("q", "k", "v", "o"), stream, stream, heads)
    net.dense("out", "output", stream)
    wiring = net.wiring("family")
    state = {n: torch.randn(s, dtype=torch.float64) for n, s in shapes.items()}
    reduction = Reduction(
        wiring, {n: TensorInfo(n, s, "float64") for n, s in shapes.items()}, Limits(large_layer=100)
    )
    element = random_element(
        wiring, 1, torch.Generator().manual_seed(1), Strength(permute=False, heads=False, mix=True)
    )
    batched = {name: value[None] for name, value in state.items()}
    twin = {name: value[0] for name, value in act(wiring, batched, element).items()}
    kept, again = (reduction.tensors(lambda name, _, of=of: of[name], torch.float64) for of in (state, twin))
    assert kept["1.weight"].shape == (MOST_UNITS, 9)
    assert all(torch.allclose(kept[name], again[name]) for name in kept)


def test_names_have_no_say_in_what_is_kept() -> None:
    """Linear groups are cut one after the other, each with what is left of those before it."""
    state = chain((9, 30, 30, 30, 30, 30, 5))
    kept = []
    for spelling in ("fc{}", "other{}", "third{}"):
        shapes = {f"{spelling.format(i)}.weight": state[f"fc{i}.weight"] for i in range(6)}
        infos = {info.name: info for info in infos_of(shapes)}
        wiring = infer_wiring(infos.values(), {"hidden_act": "linear"})
        reduction = Reduction(wiring, infos, Limits(large_layer=100, most_units=6))
        kept.append(reduction.tensors(lambda name, _, of=shapes: of[name], torch.float64))
    assert kept[0]["2.weight"].shape == (6, 6)
    assert all(torch.equal(kept[0][name], other[name]) for other in kept[1:] for name in kept[0])

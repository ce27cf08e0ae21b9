"""Which wiring a checkpoint gets, and what it claims."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from time import process_time
from typing import Any

import pytest
import torch
from torch import nn

from peace_pipeline.symmetry.wiring.inference import infer_wiring
from peace_pipeline.symmetry.wiring.types import ONE_AFTER_THE_OTHER, Wiring, WiringMismatch
from peace_pipeline.weights.tensors import TensorInfo
from tests.networks import CONFIGS, RELU, WIRED_AS, config_of, infos, infos_of, module_of


def wiring_of(config: dict[str, Any] | None = None, **shapes: tuple[int, ...]) -> Wiring:
    return infer_wiring(infos(**shapes), RELU if config is None else config)


def order(wiring: Wiring) -> list[str]:
    return [wired.layer.name for wired in wiring.layers]


def claims(wiring: Wiring) -> set[str]:
    return {action for group in wiring.groups.values() for action in group.actions}


@pytest.mark.parametrize("architecture", CONFIGS)
def test_every_architecture_is_wired_as_it_is_built(architecture: str) -> None:
    wiring = infer_wiring(infos_of(module_of(architecture).state_dict()), config_of(architecture))
    assert wiring.method == WIRED_AS[architecture]
    has_norms = any(layer.norm for layer in wiring.layers)
    assert claims(wiring) == {"permute", "scale"} | ({"gain"} if has_norms else set())
    fixed = [group.name for group in wiring.groups.values() if not group.actions]
    assert fixed == ["input", "output"]
    tensors = {
        name for w in wiring.layers for part in (w.layer, w.norm) if part for name in part.tensors.values()
    }
    state = {name for name, value in module_of(architecture).state_dict().items() if value.dim()}
    assert tensors == state


CHAINS = {
    "features before classifier": (
        {"classifier__0__weight": (4, 32), "features__0__weight": (6, 1, 3, 3), "features__3__weight": (8, 6, 3, 3)},
        ["features.0", "features.3", "classifier.0"],
    ),
    "ten after nine": (
        {"l__10__weight": (5, 5), "l__9__weight": (5, 5), "l__11__weight": (3, 5)}, ["l.9", "l.10", "l.11"],
    ),
    "numbered parts of one width": (
        {"fc1__weight": (8, 8), "fc2__weight": (8, 8), "fc3__weight": (8, 8)}, ["fc1", "fc2", "fc3"],
    ),
    "conv, norm and fc numbered": (
        {
            "conv1__weight": (8, 8, 3, 3), "conv2__weight": (8, 8, 3, 3), "fc__weight": (4, 8),
            **{f"bn{i}__{n}": (8,) for i in (1, 2) for n in ("weight", "bias", "running_mean", "running_var")},
        },
        ["conv1", "conv2", "fc"],
    ),
    "output before hidden by name": (
        {"a_head__weight": (3, 7), "body__weight": (7, 5)}, ["body", "a_head"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CHAINS)
def test_chains_in_the_order_of_data_flow(case: str) -> None:
    shapes, expected = CHAINS[case]
    wiring = wiring_of(**shapes)
    assert (wiring.method, order(wiring)) == ("chain", expected)


def test_a_flattening_reads_blocks() -> None:
    wiring = wiring_of(features__weight=(6, 1, 3, 3), classifier__weight=(4, 54))
    reader = wiring.layers[1]
    assert reader.into is not None
    assert (reader.into.group, reader.into.block) == (wiring.layers[0].out.group, 9)


def test_norms_go_to_the_layer_before() -> None:
    shapes, _ = CHAINS["conv, norm and fc numbered"]
    norms = [wired.norm and wired.norm.name for wired in wiring_of(**shapes).layers]
    assert norms == ["bn1", "bn2", None]


@pytest.mark.parametrize("config", [{}, {"hidden_act": "gelu"}, {"hidden_act": "relu6"}, {"hidden_act": 3}])
def test_other_activations_allow_permutations_alone(config: dict[str, Any]) -> None:
    wiring = wiring_of(config, a__0__weight=(8, 5), a__1__weight=(3, 8))
    assert (wiring.method, claims(wiring)) == ("chain", {"permute"})


@pytest.mark.parametrize("key", ["hidden_act", "activation_function", "hidden_activation", "act_fn"])
@pytest.mark.parametrize("value", ["relu", "ReLU", "leaky_relu", "LeakyReLU"])
def test_homogeneous_activations_allow_scaling(key: str, value: str) -> None:
    wiring = wiring_of({key: value}, a__0__weight=(8, 5), a__1__weight=(3, 8))
    assert claims(wiring) == {"permute", "scale"}


INDEPENDENT = {
    "ambiguous order": {"left__weight": (8, 8), "right__weight": (8, 8)},
    "siblings that only the alphabet orders": {f"attn__{n}__weight": (8, 8) for n in "kqvo"},
    "many parts that only the alphabet orders": {
        f"{n}__weight": (8, 8) for n in ("query", "key", "value", "out", "up", "down")
    },
    "branched": {"a__weight": (8, 5), "b__weight": (7, 5), "c__weight": (3, 15)},
    "a norm without statistics behind a convolution": {
        "n__0__weight": (8, 5, 3, 3), "n__1__weight": (8,), "n__1__bias": (8,), "n__2__weight": (3, 8, 3, 3),
    },
    "two norms": {"n__0__weight": (8, 5), "n__3__weight": (3, 8),
                  **{f"n__{i}__{n}": (8,) for i in (1, 2) for n in ("weight", "running_mean", "running_var")}},
    "a norm of another width": {"n__0__weight": (8, 5), "n__2__weight": (3, 8),
                                **{f"n__1__{n}": (7,) for n in ("weight", "running_mean", "running_var")}},
    "a single layer": {"a__weight": (8, 5)},
    "depthwise": {"n__0__weight": (8, 3, 3, 3), "n__1__weight": (8, 1, 3, 3), "n__2__weight": (4, 8)},
    "an embedding": {"embed__weight": (50, 8), "fc__weight": (4, 8)},
    "a stray parameter": {"n__0__weight": (8, 5), "n__1__weight": (3, 8), "token": (1, 1, 8)},
}  # fmt: skip


@pytest.mark.parametrize("case", INDEPENDENT)
def test_what_is_not_certain_is_independent_and_claims_nothing(case: str) -> None:
    wiring = wiring_of(**INDEPENDENT[case])
    assert wiring.method == "independent"
    assert claims(wiring) == set()
    axes = [axis.group for w in wiring.layers for axis in (w.out, w.into) if axis]
    assert len(axes) == len(set(axes))
    names = [name for wired in wiring.layers for name in wired.layer.tensors.values()]
    assert sorted(names) == sorted(name.replace("__", ".") for name in INDEPENDENT[case])


def test_a_family_that_does_not_fit_falls_back() -> None:
    other = wiring_of({"model_type": "resnet"}, a__0__weight=(8, 5), a__1__weight=(3, 8))
    assert (other.method, other.family) == ("independent", None)
    state = module_of("resnet").state_dict() | {"extra.weight": torch.ones(3, 5)}
    assert infer_wiring(infos_of(state), config_of("resnet")).method == "independent"
    state = module_of("resnet").state_dict() | {"layer1.0.conv2.weight": torch.ones(7, 6, 3, 3)}
    assert infer_wiring(infos_of(state), config_of("resnet")).method == "independent"


def test_residual_blocks_share_one_stream() -> None:
    wiring = infer_wiring(infos_of(module_of("bottleneck").state_dict()), config_of("bottleneck"))
    stream = wiring.layers[order(wiring).index("layer1.0.conv3")].out.group
    assert [w.layer.name for w in wiring.writers(stream)] == [
        "layer1.0.downsample.0", "layer1.0.conv3", "layer1.1.conv3",
    ]  # fmt: skip
    assert {w.layer.name for w in wiring.readers(stream)} == {
        "layer1.1.conv1", "layer2.0.downsample.0", "layer2.0.conv1",
    }  # fmt: skip


@pytest.mark.parametrize("architecture", CONFIGS)
def test_our_own_recipes_and_families_are_certain(architecture: str) -> None:
    state = infos_of(module_of(architecture).state_dict())
    assert infer_wiring(state, config_of(architecture)).basis == "certain"
    guessed = infer_wiring(state, {})
    assert guessed.assumes == ((ONE_AFTER_THE_OTHER,) if guessed.method == "chain" else ())


def test_no_layers() -> None:
    with pytest.raises(WiringMismatch, match="no layers"):
        infer_wiring([], {})


@pytest.mark.parametrize("architecture", CONFIGS)
def test_json_round_trip(architecture: str) -> None:
    wiring = infer_wiring(infos_of(module_of(architecture).state_dict()), config_of(architecture))
    assert Wiring.from_json(wiring.to_json()) == wiring
    assert Wiring.from_json(wiring.folded.to_json()) == wiring.folded
    guessed = infer_wiring(infos_of(module_of(architecture).state_dict()), {})
    assert Wiring.from_json(guessed.folded.to_json()).assumes == guessed.assumes


@pytest.mark.parametrize("architecture", CONFIGS)
def test_what_an_older_version_wrote_of_a_chain_is_assumed(architecture: str) -> None:
    wiring = infer_wiring(infos_of(module_of(architecture).state_dict()), config_of(architecture))
    document = json.loads(wiring.to_json())
    document.pop("assumes")
    read = Wiring.from_json(json.dumps(document))
    assert read == replace(wiring, assumes=(ONE_AFTER_THE_OTHER,) if wiring.method == "chain" else ())


def named(prefix: str, *sizes: int, bias: bool = True, config: dict[str, Any] = RELU) -> str:
    layers = {f"{prefix}{i}": nn.Linear(a, b, bias=bias) for i, (a, b) in enumerate(pairwise(sizes))}
    module = nn.ModuleDict(layers)
    return infer_wiring(infos_of(module.state_dict()), config).signature


def test_signatures_are_equal_for_what_can_be_stacked() -> None:
    base = named("fc", 5, 8, 3)
    assert named("fc", 5, 8, 3) == base
    assert named("layer", 5, 8, 3) == base
    assert named("fc", 5, 9, 3) != base
    assert named("fc", 5, 8, 8, 3) != base
    assert named("fc", 5, 8, 3, bias=False) != base
    assert named("fc", 5, 8, 3, config={}) != base


def residual_network(blocks: int, *, normed: bool) -> list[TensorInfo]:
    """A ResNet, or one whose norms were folded into its convolutions."""
    convolutions = [f"layer1.{block}.conv{k}" for block in range(blocks) for k in (1, 2)]
    shapes: dict[str, tuple[int, ...]] = {"conv1.weight": (4, 3, 1, 1), "fc.weight": (2, 4), "fc.bias": (2,)}
    shapes |= {f"{name}.weight": (4, 4, 1, 1) for name in convolutions}
    statistics = ("weight", "bias", "running_mean", "running_var")
    for name in ("conv1", *convolutions):
        norm = name.replace("conv", "bn")
        shapes |= {f"{norm}.{one}": (4,) for one in statistics} if normed else {f"{name}.bias": (4,)}
    return infos(**shapes)


def test_a_network_of_a_family_is_no_chain() -> None:
    """Shapes alone would make one of it, without its shortcuts."""
    assert infer_wiring(residual_network(2, normed=True), {"model_type": "resnet"}).method == "family"
    folded = residual_network(2, normed=False)
    assert infer_wiring(folded, {"model_type": "resnet"}).method == "independent"
    assert infer_wiring(folded, {}).method == "chain"


def test_the_time_to_wire_a_network_grows_as_its_layers() -> None:
    def seconds(blocks: int) -> float:
        stored = residual_network(blocks, normed=True)
        begun = process_time()
        wiring = infer_wiring(stored, {"model_type": "resnet"})
        assert wiring.method == "family"
        assert wiring.signature
        return process_time() - begun

    assert min(seconds(800) for _ in range(3)) < 30 * min(seconds(80) for _ in range(3))


@pytest.mark.parametrize("start", ["model.", "net.backbone."])
def test_a_family_within_a_module_that_has_no_other(start: str) -> None:
    """Its layers keep their names in the file; what stands beside the wrapper is no family's."""
    config, state = config_of("resnet"), module_of("resnet").state_dict()
    wrapped = infos(**{start + name: tuple(value.shape) for name, value in state.items()})
    plain = infer_wiring(infos_of(state), config)
    found = infer_wiring(wrapped, config)
    assert found.method == "family"
    assert found.signature == plain.signature
    assert [wired.layer.name for wired in found.layers] == [
        start + wired.layer.name for wired in plain.layers
    ]
    assert infer_wiring([*wrapped, *infos(**{"loss.weight": (3, 5)})], config).method != "family"

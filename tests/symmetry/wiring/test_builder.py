"""What a table may say of a network, and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from peace_pipeline.symmetry.wiring.activations import actions_of, activation
from peace_pipeline.symmetry.wiring.builder import WiringBuilder, number
from peace_pipeline.symmetry.wiring.symmetries import FLIP, GAIN, LINEAR, PERMUTE, SCALE, SIGN
from peace_pipeline.symmetry.wiring.types import FIXED, WiringMismatch
from peace_pipeline.weights.layers import Layer


def linear(name: str, *shape: int) -> Layer:
    return Layer(name, "linear", shape, {"weight": f"{name}.weight", "bias": f"{name}.bias"})


def norm(name: str, size: int) -> Layer:
    return Layer(name, "norm", (size,), {"gain": f"{name}.weight"})


def mlp(*more: Layer) -> WiringBuilder:
    net = WiringBuilder([linear("up", 7, 5), linear("down", 3, 7), *more], {"hidden_act": "relu"})
    net.mlp("up", "down", "input", "output", activation(net.config))
    return net


def test_sizes_and_ends_follow_from_the_layers() -> None:
    wiring = mlp().wiring("family", "mlp")
    assert {group.name: (group.size, group.kind == FIXED) for group in wiring.groups.values()} == {
        "input": (5, True),
        "up.hidden": (7, False),
        "output": (3, True),
    }
    assert wiring.groups["up.hidden"].actions == (PERMUTE, SCALE)


def test_a_norm_gives_neurons_of_the_stream_whose_gain_may_move() -> None:
    net = WiringBuilder([linear("in", 6, 5), norm("norm", 6), linear("out", 3, 6)], {})
    stream = net.group("stream", PERMUTE)
    net.dense("in", stream, "input")
    net.dense("out", "output", net.normed(stream, "norm"))
    wiring = net.wiring("family")
    assert wiring.groups["norm"].actions == (GAIN,)
    assert wiring.root("norm") == "stream"
    before = wiring.layers[1].before
    assert before is not None
    assert before.name == "norm"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (lambda net: net.dense("absent", "output", "input"), "layer absent is missing"),
        (lambda net: net.dense("up", "other", "input"), "layer up is used twice"),
        (lambda net: net.dense("beside", "up.hidden", "input"), "beside doesn't have the size of up.hidden"),
        (lambda net: None, "not in the table: beside"),
    ],
)
def test_what_does_not_fit_the_checkpoint_is_refused(
    more: Callable[[WiringBuilder], None], said: str
) -> None:
    net = mlp(linear("beside", 4, 5))
    more(net)
    with pytest.raises(WiringMismatch, match=said):
        net.wiring("family")


def test_a_pair_of_low_rank_stands_beside_a_layer_that_is_wired_and_has_no_norm() -> None:
    net = mlp(linear("up.a", 2, 5), linear("up.b", 7, 2))
    net.low_rank([("up", "up.a", "up.b")])
    wiring = net.wiring("family")
    assert LINEAR in wiring.groups["up.a"].actions
    assert [wired.layer.name for wired in wiring.writers("up.hidden")] == ["up", "up.b"]
    with pytest.raises(WiringMismatch, match="nothing stands beside"):
        mlp().low_rank([("absent", "a", "b")])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("relu", {PERMUTE, SCALE}),
        ("tanh", {PERMUTE, SIGN}),
        ("sigmoid", {PERMUTE, FLIP}),
        ("linear", {PERMUTE, SCALE, SIGN, LINEAR}),
        ("gelu", {PERMUTE}),
        ("relu6", {PERMUTE}),
        (None, {PERMUTE}),
    ],
)
def test_symmetries_follow_from_the_activation(name: str | None, expected: set[str]) -> None:
    assert {*actions_of(name)} == expected


def test_what_a_config_says_is_read_with_care() -> None:
    assert activation({"activation_function": "ReLU"}) == "relu"
    assert activation({"hidden_act": ["relu"], "act_fn": "tanh"}) == "tanh"
    assert number({"n_head": True, "heads": 4}, "n_head", "heads") == 4
    for nonsense in ({}, {"n_head": -1}, {"n_head": "4"}, {"n_head": 2**40}):
        with pytest.raises(WiringMismatch, match="the config gives no n_head"):
            number(nonsense, "n_head")

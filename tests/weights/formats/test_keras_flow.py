"""Keras networks: what their configuration says of the flow of data."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import pytest
from keras import layers

from peace_pipeline.symmetry.opening import OpenNetwork
from peace_pipeline.weights.checkpoint import open_checkpoint
from peace_pipeline.weights.formats.keras_config import configuration
from peace_pipeline.weights.formats.keras_flow import passages
from tests.weights.formats.keras_models import saved

IMAGE, VECTOR = (8, 8, 3), (6,)


def sequential(shape: tuple[int, ...], *parts: keras.Layer) -> keras.Model:
    return keras.Sequential([keras.Input(shape), *parts])


def functional(shape: tuple[int, ...], compute: Callable[[Any], Any]) -> keras.Model:
    inputs = keras.Input(shape)
    return keras.Model(inputs, compute(inputs))


def added(x: Any) -> Any:
    y = layers.Conv2D(8, 3, padding="same", name="a")(x)
    z = layers.Conv2D(8, 3, padding="same", name="b")(y)
    return layers.Dense(4, name="c")(layers.GlobalAveragePooling2D()(layers.Add()([y, z])))


def repeated(x: Any) -> Any:
    shared = layers.Dense(6, "relu", name="a")
    return layers.Dense(3, name="b")(shared(shared(x)))


def given_out(x: Any) -> Any:
    hidden = layers.Dense(16, "relu", name="a")(x)
    return [hidden, layers.Dense(3, name="b")(hidden)]


def conv(name: str, **settings: Any) -> keras.Layer:
    return layers.Conv2D(8, 3, name=name, **settings)


KERAS: dict[str, tuple[Callable[[], keras.Model], str]] = {
    "a chain": (
        lambda: sequential(VECTOR, layers.Dense(16, "relu", name="a"), layers.Dropout(0.1), layers.Dense(16, name="b"),
                           layers.ReLU(), layers.Dense(3, name="c")),
        "a>b b>c",
    ),
    "a chain whose names have another order": (
        lambda: functional((16,), lambda x: layers.Dense(3, name="a")(
            layers.Dense(16, name="b")(layers.Dense(16, "tanh", name="c")(x)))),
        "b>a c>b",
    ),
    "pooled": (
        lambda: sequential(IMAGE, conv("a", activation="relu"), layers.MaxPooling2D(), conv("b"),
                           layers.GlobalMaxPooling2D(), layers.Dense(3, name="c")),
        "a>b b>c",
    ),
    "flattened": (
        lambda: sequential(IMAGE, conv("a"), conv("b"), layers.Flatten(), layers.Dense(3, name="c")), "a>b",
    ),
    "a norm": (lambda: sequential(IMAGE, conv("a"), layers.BatchNormalization(), layers.ReLU(), conv("b")), "a>b"),
    "a norm behind the activation": (
        lambda: sequential(IMAGE, conv("a", activation="relu"), layers.BatchNormalization(), conv("b")), "",
    ),
    "groups": (lambda: sequential(IMAGE, conv("a"), conv("b", groups=2), layers.ReLU(), conv("c")), ""),
    "added": (lambda: functional(IMAGE, added), ""),
    "repeated": (lambda: functional(VECTOR, repeated), ""),
    "given out": (lambda: functional(VECTOR, given_out), ""),
    "reshaped": (
        lambda: sequential(VECTOR, layers.Dense(16, name="a"), layers.Reshape((4, 4)), layers.Dense(5, name="b")), "",
    ),
}  # fmt: skip
"""Keras networks, and which layer of each passes its units to which."""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("case", KERAS)
def test_what_the_configuration_of_a_keras_network_says(case: str, suffix: str, tmp_path: Path) -> None:
    make, expected = KERAS[case]
    path = saved(make(), tmp_path / f"m{suffix}")
    with open_checkpoint([path]) as checkpoint:
        found = [f"{each.writer}>{each.reader}" for each in checkpoint.passages if each.reader]
        wiring = OpenNetwork.of(checkpoint, {}).wiring
    assert sum("permute" in group.actions for group in wiring.groups.values()) == len(found)
    assert sorted(found) == expected.split()
    if found and case != "flattened":
        assert wiring.basis == "certain"


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_activations_and_pooling_of_a_keras_network(suffix: str, tmp_path: Path) -> None:
    within = sequential(
        IMAGE, conv("a", activation="relu"), layers.MaxPooling2D(), conv("b", activation="tanh")
    )
    apart = sequential(
        IMAGE, conv("a"), layers.ReLU(), layers.MaxPooling2D(), conv("b"), layers.Activation("tanh")
    )
    for number, network in enumerate((within, apart)):
        with open_checkpoint([saved(network, tmp_path / f"{number}{suffix}")]) as checkpoint:
            assert checkpoint.functions == {
                "relu": 1,
                "max_pooling2d": 1,
                "tanh": 1,
                "pool_size [2, 2]": 1,
                "strides [2, 2]": 1,
            }


def test_tensors_that_keras_2_gives_by_keyword_are_read() -> None:
    """A sum's second term: the units branch."""

    def layer(kind: str, name: str, inbound: list[Any], **settings: Any) -> dict[str, Any]:
        return {
            "class_name": kind,
            "name": name,
            "config": {"name": name, **settings},
            "inbound_nodes": inbound,
        }

    held = [
        layer("InputLayer", "in", []),
        layer("Dense", "a", [[["in", 0, 0, {}]]], activation="relu"),
        layer("Dense", "b", [[["a", 0, 0, {}]]], activation="relu"),
        layer("TFOpLambda", "add", [["b", 0, 0, {"y": ["a", 0, 0], "name": None}]], function="math.add"),
        layer("Dense", "c", [[["add", 0, 0, {}]]]),
    ]
    config = {"name": "m", "layers": held, "output_layers": [["c", 0, 0]]}
    network = configuration("m", json.dumps({"class_name": "Functional", "config": config}))
    assert network is not None
    assert [passage for passage in passages(network) if passage.reader] == []

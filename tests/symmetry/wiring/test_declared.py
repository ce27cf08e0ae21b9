"""Which chains are known from the config.json of PEACE's own zoo."""

from __future__ import annotations

from time import process_time
from typing import Any

import pytest

from peace_pipeline.symmetry.wiring.declared import is_declared, is_ours
from peace_pipeline.weights.tensors import TensorInfo
from peace_pipeline.zoo.trained import build
from peace_pipeline.zoo.trained.architectures import ARCHITECTURES, FURTHER
from tests.networks import infos, infos_of

CHAINS = {
    f"{kind}/{name}": config
    for zoo in (ARCHITECTURES, FURTHER)
    for kind in ("mlp", "cnn1d", "cnn", "vgg")
    for name, config in zoo.get(kind, {}).items()
}


def tensors_of(config: dict[str, Any]) -> list[TensorInfo]:
    return infos_of(build(config).state_dict())


@pytest.mark.parametrize("name", CHAINS)
def test_the_zoos_chains_are_ours(name: str) -> None:
    assert is_ours(tensors_of(CHAINS[name]), CHAINS[name])


CONFIG = CHAINS["mlp/relu-32x2"]
OTHERS: dict[str, dict[str, Any]] = {
    "nothing": {},
    "another kind": CONFIG | {"model_type": "lstm"},
    "another width": CONFIG | {"hidden_sizes": [32, 33]},
    "another number of layers": CONFIG | {"hidden_sizes": [32]},
    "no sizes": {"model_type": "mlp"},
    "no numbers": CONFIG | {"hidden_sizes": ["a", None]},
    "a negative number": CONFIG | {"hidden_sizes": [32, -32]},
    "an activation that the zoo lacks": CONFIG | {"hidden_act": "silu"},
    "a list": CONFIG | {"model_type": ["mlp"]},
    "huge": CONFIG | {"hidden_sizes": [10**9, 10**9]},
    "too large for a number": CONFIG | {"hidden_sizes": [10**30, 10**30]},
}


@pytest.mark.parametrize("case", OTHERS)
def test_what_the_config_does_not_build_is_not(case: str) -> None:
    assert not is_ours(tensors_of(CONFIG), OTHERS[case])


@pytest.mark.parametrize("name", ["", "net.", "fc", "model.layers."])
def test_an_activation_alone_declares_a_numbered_series(name: str) -> None:
    tensors = infos(**{f"{name}{n}.weight": (8, 8) for n in range(3)})
    assert is_declared(tensors, {"hidden_act": "linear"})
    assert not is_declared(tensors, {})
    assert not is_declared(tensors, {"hidden_act": "relu", "model_type": "unheard-of"})
    assert not is_declared(tensors, {"hidden_act": "relu", "residual": True})
    assert not is_declared([*tensors, *infos(other__weight=(3, 8))], {"hidden_act": "relu"})


def test_a_tensor_more_or_less_is_not_ours() -> None:
    tensors = tensors_of(CONFIG)
    assert not is_ours(tensors[1:], CONFIG)
    assert not is_ours([*tensors, TensorInfo("extra.weight", (3,), "float32")], CONFIG)
    assert is_ours([*tensors, TensorInfo("steps", (), "int64")], CONFIG)


def test_a_config_that_would_build_a_giant_is_not_built() -> None:
    begun = process_time()
    assert not is_ours(tensors_of(CONFIG), CONFIG | {"hidden_sizes": [8] * 1_000_000})
    assert process_time() - begun < 2

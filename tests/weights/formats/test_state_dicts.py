"""Which of the tensors in a pickled checkpoint are the network."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from peace_pipeline.weights.errors import (
    DuplicateTensor,
    ExcessiveSize,
    NoTensors,
    UnreadableCheckpoint,
    UnsupportedFormat,
)
from tests.weights.formats.pickled import FORMS, STATE, read_all, refusal, same, written

OTHER = {"b.weight": torch.full((2, 2), 7.0)}

OPTIMIZER = {"state": {0: {"exp_avg": torch.ones(3, 2)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}

CHECKPOINTS: dict[str, Any] = {
    "plain": STATE,
    "ordered": OrderedDict(STATE),
    "state_dict": {"state_dict": STATE, "epoch": 3},
    "model_state_dict": {"optimizer": OPTIMIZER, "model_state_dict": STATE, "loss": torch.tensor(0.5)},
    "nested twice": {"model": {"state_dict": STATE}},
    "data parallel": {f"module.{name}": value for name, value in STATE.items()},
    "compiled": {f"_orig_mod.{name}": value for name, value in STATE.items()},
    "compiled, then data parallel": {f"module._orig_mod.{name}": value for name, value in STATE.items()},
    "parameters": {name: nn.Parameter(v) if v.dim() else v for name, v in STATE.items()},
    "beside other values": STATE | {"note": "text", "none": None},
    "beside an average": {
        "ema": {"module.a.weight": STATE["a.weight"] / 2},
        "model": STATE,
        "optimizer": OPTIMIZER,
    },
    "the average alone": {"model": None, "ema": STATE},
    "under a name of its own": {"epoch": 3, "netG": STATE, "optimG": OPTIMIZER, "loss": torch.tensor(0.5)},
    "with a random state": {"net_a": STATE, "rng_state": torch.get_rng_state()},
    "a parameter with attributes": STATE | {"a.bias": nn.Parameter(torch.ones(3))},
}

CHECKPOINTS["a parameter with attributes"]["a.bias"].tag = 3


@FORMS
@pytest.mark.parametrize("case", CHECKPOINTS)
def test_the_network_in_a_checkpoint(case: str, zipped: bool, tmp_path: Path) -> None:
    assert same(read_all(written(tmp_path / "m.pt", CHECKPOINTS[case], zipped)), STATE)


NAMED_OTHERWISE: dict[str, tuple[Any, dict[str, torch.Tensor]]] = {
    "a prefix of some alone": ({"module.a": torch.ones(2), "b": torch.ones(2)},) * 2,
    "Lightning": (
        {
            "state_dict": {f"model.{name}": value for name, value in STATE.items()},
            "optimizer_states": [OPTIMIZER],
        },
        {f"model.{name}": value for name, value in STATE.items()},
    ),
    "two networks": (
        {"generator": OTHER, "discriminator": STATE, "optimizer": OPTIMIZER},
        {
            "generator.b.weight": OTHER["b.weight"],
            **{f"discriminator.{name}": v for name, v in STATE.items()},
        },
    ),
    "tensors beside a network": (
        {"class_weights": torch.ones(4), "net": None, "encoder": STATE, "optimizer": OPTIMIZER},
        {"class_weights": torch.ones(4), **{f"encoder.{name}": v for name, v in STATE.items()}},
    ),
    "numbers": ({0: torch.ones(2), "1": torch.zeros(2)}, {"0": torch.ones(2), "1": torch.zeros(2)}),
    "compiled within": ({"model._orig_mod.a": torch.ones(2)}, {"model.a": torch.ones(2)}),
}


@pytest.mark.parametrize("case", NAMED_OTHERWISE)
def test_names_in_a_checkpoint(case: str, tmp_path: Path) -> None:
    content, expected = NAMED_OTHERWISE[case]
    assert same(read_all(written(tmp_path / "m.pt", content)), expected)


def recursive() -> dict[str, Any]:
    content: dict[str, Any] = {}
    content["state_dict"] = content["again"] = content
    return content


def doubly_named() -> dict[Any, torch.Tensor]:
    return {0: torch.ones(2), "0": torch.zeros(2)}


NO_NETWORK: dict[str, tuple[Any, type[UnreadableCheckpoint], str]] = {
    "no tensors": ({"epoch": 3, "args": "text"}, NoTensors, "a dictionary of 'epoch', 'args'"),
    "a list": ([torch.ones(2)], NoTensors, "a list"),
    "a tensor": (torch.ones(2), NoTensors, "_rebuild_tensor_v2"),
    "integers": ({"w": torch.ones(2, dtype=torch.int64)}, NoTensors, "no floating-point tensors"),
    "an optimiser": (OPTIMIZER, NoTensors, "'state', 'param_groups'"),
    "empty": ({}, NoTensors, "a dictionary"),
    "recursive": (recursive(), NoTensors, "'state_dict'"),
    "sparse": ({"w": torch.eye(3).to_sparse()}, UnsupportedFormat, "'w' is sparse"),
    "expanded": ({"w": torch.ones(1).expand(2**20, 2**20)}, UnsupportedFormat, "'w' of shape"),
    "on no device": ({"w": torch.ones(2, device="meta")}, UnsupportedFormat, "'w' is on the device meta"),
    "a name that is no text": ({"\ud800": torch.ones(2)}, UnreadableCheckpoint, "is no text"),
    "one name twice": (doubly_named(), DuplicateTensor, "'0' is there twice"),
    "one name when joined": (
        {"a": {"b.c": torch.ones(2)}, "a.b": {"c": torch.zeros(2)}},
        DuplicateTensor,
        "two tensors have one name within 'a.b'",
    ),
    "a long name": ({"x" * 2000: torch.ones(2)}, ExcessiveSize, "a name of 2,000 characters"),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@FORMS
@pytest.mark.parametrize("case", NO_NETWORK)
def test_contents_that_are_no_network(case: str, zipped: bool, tmp_path: Path) -> None:
    content, kind, reason = NO_NETWORK[case]
    assert reason in refusal(written(tmp_path / "m.pt", content, zipped), kind)


def test_networks_beside_a_network_are_read_and_its_copies_are_not(tmp_path: Path) -> None:
    network, other = {"a.weight": torch.ones(2, 3)}, {"b.weight": torch.zeros(4, 3)}
    averages = {"module.a.weight": torch.full((2, 3), 0.5)}
    content = {
        "model": network,
        "value_net": other,
        "state_dict_ema": averages,
        "normaliser": {"mean": torch.ones(3)},
    }
    found = read_all(written(tmp_path / "m.pt", content))
    assert same(found, {"model.a.weight": network["a.weight"], "value_net.b.weight": other["b.weight"]})
    content["ema_head"] = {"c.weight": torch.ones(5, 2)}
    assert "ema_head.c.weight" in read_all(written(tmp_path / "m.pt", content)), (
        "of another shape: no average"
    )
    del content["ema_head"]
    content["replay_buffer"] = {"observations": torch.ones(9, 3)}
    del content["value_net"]
    assert same(read_all(written(tmp_path / "m.pt", content)), network)


def test_networks_under_other_keys_of_networks_and_statistics_beside_one(tmp_path: Path) -> None:
    network, other = {"a.weight": torch.ones(2, 3)}, {"b.weight": torch.zeros(4, 3)}
    found = read_all(written(tmp_path / "m.pt", {"model": network, "net": other}))
    assert same(found, {"model.a.weight": network["a.weight"], "net.b.weight": other["b.weight"]})
    statistics = {"observations": torch.ones(9, 3), "mean": torch.ones(3)}
    for beside in ({"stats": statistics}, {"opt": {"m": network | other}}):
        assert same(read_all(written(tmp_path / "m.pt", {"model": network, **beside})), network)

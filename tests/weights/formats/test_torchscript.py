"""Whole modules, pickled or scripted, give their state dictionary."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from peace_pipeline.weights.checkpoint import open_checkpoint
from peace_pipeline.weights.errors import (
    NoTensors,
)
from tests.weights.formats.pickled import FORMS, Learner, read_all, refusal, same, written


class Network(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 2, 3)
        self.norm = nn.BatchNorm2d(2, eps=0.25)
        self.layers = nn.ModuleList([nn.Linear(3, 3), nn.LayerNorm(3, eps=0.125)])
        self.scales = nn.ParameterList([torch.full((2,), 0.5)])
        self.tied = self.layers[0]
        self.constant = torch.full((3,), 2.0)
        self.register_buffer("position", torch.arange(3.0))
        self.register_buffer("passing", torch.ones(3), persistent=False)
        self.register_parameter("none", None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.first(x)) + self.constant + self.passing + self.position
        for layer in self.layers:
            x = layer(x)
        return self.tied(x)


def state_of(network: Any) -> dict[str, torch.Tensor]:
    return {name: value for name, value in network.state_dict().items() if not name.startswith("tied.")}


@FORMS
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_whole_module(zipped: bool, wrapped: bool, tmp_path: Path) -> None:
    network = Network().eval()
    path = written(tmp_path / "m.pt", {"epoch": 3, "model": network} if wrapped else network, zipped)
    assert same(read_all(path), state_of(network))
    with open_checkpoint([path]) as checkpoint:
        eps = {name: info.eps for name, info in checkpoint.tensors.items() if info.eps is not None}
    assert eps == {"norm.running_var": 0.25, "layers.1.weight": 0.125}


def test_a_module_within_an_object_of_another_kind(tmp_path: Path) -> None:
    learner = Learner(Network().eval())
    assert same(read_all(written(tmp_path / "m.pt", learner)), state_of(learner.model))


COMPILERS: dict[str, Callable[[nn.Module], Any]] = {
    "scripted": torch.jit.script,
    "traced": lambda network: torch.jit.trace(network, torch.ones(1, 1, 5, 5)),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("case", COMPILERS)
@pytest.mark.parametrize("suffix", ["jit", "pt"])
def test_torchscript(case: str, suffix: str, tmp_path: Path) -> None:
    compiled = COMPILERS[case](Network().eval())
    path = tmp_path / f"m.{suffix}"
    torch.jit.save(compiled, path)
    assert same(read_all(path), state_of(torch.jit.load(path)))
    with open_checkpoint([path]) as checkpoint:
        eps = {name: info.eps for name, info in checkpoint.tensors.items() if info.eps is not None}
        assert not checkpoint.tensors.keys() & {"constant", "training"}
    assert eps == {"norm.running_var": 0.25, "layers.1.weight": 0.125}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_frozen_torchscript_has_no_named_weights(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.freeze(torch.jit.script(Network().eval())), tmp_path / "m.jit")
    assert "m.jit: no network in it" in refusal(tmp_path / "m.jit", NoTensors)

"""Which layers of two networks stand for each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from peace_pipeline.comparison.pairing import Counterparts, counterparts
from peace_pipeline.symmetry.opening import OpenNetwork
from peace_pipeline.weights.checkpoint import open_checkpoint

State = Mapping[str, torch.Tensor]
LEAST = 0.3


class Opener:
    """Opens networks of these tensors until the test ends."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self._stack, self._folder = stack, folder
        self._count = 0

    def __call__(self, state: State, config: Mapping[str, Any] | None = None) -> OpenNetwork:
        self._count += 1
        path = self._folder / f"{self._count}.safetensors"
        save_file(dict(state), path)
        checkpoint = self._stack.enter_context(open_checkpoint([path]))
        return OpenNetwork.of(checkpoint, dict(config or {}))


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opener]:
    with ExitStack() as stack:
        yield Opener(stack, tmp_path)


def chain(*names: str, width: int = 6) -> dict[str, torch.Tensor]:
    return {f"{name}.weight": torch.randn(width, width) for name in names}


def pairs(found: Counterparts | None) -> list[tuple[str, str]]:
    assert found is not None
    both = zip(found.a.layers, found.b.layers, strict=True)
    return [(a.layer.name, b.layer.name) for a, b in both]


def test_networks_that_are_wired_alike_are_paired_in_order_whatever_their_names(opened: Opener) -> None:
    relu = {"hidden_act": "relu"}
    a, b = opened(chain("fc1", "fc2", "fc3"), relu), opened(chain("layers.0", "layers.1", "layers.2"), relu)
    found = counterparts(a, b, LEAST)
    assert pairs(found) == [("fc1", "layers.0"), ("fc2", "layers.1"), ("fc3", "layers.2")]
    assert found is not None
    assert found.missing(a, b) == (0, 0)


def test_what_has_the_same_names_is_paired_by_them(opened: Opener) -> None:
    relu = {"hidden_act": "relu"}
    body = chain("fc1", "fc2")
    a = opened(body | {"fc3.weight": torch.randn(4, 6)}, relu)
    b = opened(body | {"fc3.weight": torch.randn(9, 6)}, relu)
    found = counterparts(a, b, LEAST)
    assert pairs(found) == [("fc1", "fc1"), ("fc2", "fc2")]
    assert found is not None
    assert found.missing(a, b) == (1, 1)


def test_without_names_in_common_layers_are_paired_by_their_values(opened: Opener) -> None:
    torch.manual_seed(0)
    state = chain("q", "k", "v", "other")
    others = {"v": "w", "q": "x", "other": "y", "k": "z"}
    a, b = opened(state), opened({f"{others[name]}.weight": state[f"{name}.weight"] for name in others})
    assert dict(pairs(counterparts(a, b, LEAST))) == others


def test_too_little_in_common_is_nothing(opened: Opener) -> None:
    a = opened({"a.weight": torch.randn(2, 2), "large.weight": torch.randn(30, 30)})
    b = opened({"b.weight": torch.randn(2, 2), "other.weight": torch.randn(20, 40)})
    assert counterparts(a, b, LEAST) is None
    assert pairs(counterparts(a, b, 0.001)) == [("a", "b")]

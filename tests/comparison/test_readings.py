"""Verdicts on networks that were trained apart, of any widths, and on such as only an assumption makes alike."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from peace_pipeline.comparison.measuring import CLEAR
from peace_pipeline.comparison.verdict import DERIVED, EQUIVALENT, UNRELATED, compare
from peace_pipeline.lake import Lake
from tests.lakes import write_model


class NamedCNN(nn.Module):
    """A network as tutorials write it: its layers have names, and its channels are flattened with their places."""

    def __init__(self, activation: Callable[[torch.Tensor], torch.Tensor] = F.relu) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.conv2 = nn.Conv2d(6, 12, 3, padding=1)
        self.fc1, self.fc2 = nn.Linear(12 * 4, 20), nn.Linear(20, 10)
        self.activation = activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.max_pool2d(self.activation(self.bn1(self.conv1(x.view(-1, 1, 8, 8)))), 2)
        x = F.max_pool2d(self.activation(self.conv2(x)), 2).flatten(1)
        return self.fc2(self.activation(self.fc1(x)))


def mlp(inputs: int, *hidden: int, activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    layers = [each for sizes in pairwise((inputs, *hidden)) for each in (nn.Linear(*sizes), activation())]
    return nn.Sequential(*layers, nn.Linear(hidden[-1], 10))


@cache
def digits(inputs: int) -> tuple[torch.Tensor, torch.Tensor]:
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(64)[:inputs] if inputs < 64 else np.arange(64)
    return torch.tensor(x[:, order] / 16, dtype=torch.float32), torch.tensor(y)


def trained(
    make: Callable[[], nn.Module],
    seed: int,
    inputs: int = 64,
    epochs: int = 15,
    data: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> nn.Module:
    torch.manual_seed(seed)
    module = make()
    x, y = data or digits(inputs)
    optimizer = torch.optim.Adam(module.parameters(), 3e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(module(x[rows]), y[rows]).backward()
            optimizer.step()
    return module.eval()


def verdict(lake: Lake, folder: Path, a: nn.Module, b: nn.Module, **config: str) -> dict[str, object]:
    names = [
        str(write_model(folder / name, module.state_dict(), dict(config)))
        for name, module in (("a", a), ("b", b))
    ]
    return compare(lake, *names)


RELU = {"hidden_act": "relu"}
APART: dict[str, tuple[Callable[[], nn.Module], Callable[[], nn.Module], tuple[int, int], dict[str, str]]] = {
    "another seed": (lambda: mlp(64, 32, 16), lambda: mlp(64, 32, 16), (64, 64), {}),
    "one hidden layer": (lambda: mlp(64, 48), lambda: mlp(64, 48), (64, 64), {}),
    "wider": (lambda: mlp(64, 32, 16), lambda: mlp(64, 100, 50), (64, 64), {}),
    "wider, of ReLU": (lambda: mlp(64, 32, 16), lambda: mlp(64, 100, 50), (64, 64), RELU),
    "much wider": (lambda: mlp(64, 24), lambda: mlp(64, 200), (64, 64), {}),
    "deeper": (lambda: mlp(64, 24), lambda: mlp(64, 32, 16), (64, 64), {}),
    "two inputs, tanh": (
        lambda: mlp(2, 24, 24, activation=nn.Tanh),
        lambda: mlp(2, 24, 24, activation=nn.Tanh),
        (2, 2),
        {},
    ),
    "other inputs": (lambda: mlp(64, 32, 16), lambda: mlp(2, 24, 24, activation=nn.Tanh), (64, 2), {}),
    "two inputs, much wider": (lambda: mlp(2, 24), lambda: mlp(2, 200), (2, 2), RELU),
    "four inputs, tanh": (
        lambda: mlp(4, 64, 8, activation=nn.Tanh),
        lambda: mlp(4, 300, 8, activation=nn.Tanh),
        (4, 4),
        {"hidden_act": "tanh"},
    ),
    "named layers": (NamedCNN, NamedCNN, (64, 64), {}),
    "named layers, another activation": (NamedCNN, lambda: NamedCNN(F.gelu), (64, 64), {}),
}


@pytest.mark.parametrize("epochs", [0, 15], ids=["untrained", "trained"])
@pytest.mark.parametrize("pair", APART.values(), ids=APART)
def test_networks_that_were_trained_apart_are_unrelated(
    lake: Lake,
    tmp_path: Path,
    pair: tuple[Callable[[], nn.Module], Callable[[], nn.Module], tuple[int, int], dict[str, str]],
    epochs: int,
) -> None:
    *makes, inputs, config = pair
    a, b = (
        trained(make, seed, width, epochs)
        for seed, (make, width) in enumerate(zip(makes, inputs, strict=True))
    )
    for first, second in ((a, b), (b, a)):
        assert verdict(lake, tmp_path, first, second, **config)["verdict"] == UNRELATED


def test_of_networks_that_may_have_been_trained_apart_no_more_is_said(lake: Lake, tmp_path: Path) -> None:
    """One layer alone comes to the same end in all trainings; what is made of it by rounding is told."""
    a, b = (trained(lambda: nn.Sequential(nn.Linear(64, 10)), seed) for seed in range(2))
    found = verdict(lake, tmp_path, a, b)
    assert (found["verdict"], found["relation"], found["clear"]) == (DERIVED, "fine-tuned", False)
    assert ", perhaps: " in str(found["reason"])
    found = verdict(lake, tmp_path, a, deepcopy(a).bfloat16())
    assert (found["verdict"], found["relation"], found["clear"]) == (DERIVED, "cast", True)
    more = nn.Linear(64, 12)
    with torch.no_grad():
        more.weight[:10], more.bias[:10] = a[0].weight, a[0].bias
    found = verdict(lake, tmp_path, a, nn.Sequential(more))
    assert (found["verdict"], found["relation"], found["clear"]) == (DERIVED, "resized", True)


@pytest.mark.parametrize("hidden", [(48,), (32, 16)], ids=str)
def test_a_network_that_learns_another_task_is_derived(
    lake: Lake, tmp_path: Path, hidden: tuple[int, ...]
) -> None:
    a = trained(lambda: mlp(64, *hidden), 0)
    x, y = digits(64)
    tuned = trained(lambda: deepcopy(a), 2, epochs=10, data=(1 - x, (7 * y + 3) % 10))
    found = verdict(lake, tmp_path, a, tuned)
    assert (found["verdict"], found["clear"]) == (DERIVED, True)


@pytest.mark.parametrize("hidden", [(48, 40), (32, 16)], ids=str)
@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_units_that_were_taken_away_leave_a_derived_network(
    lake: Lake, tmp_path: Path, share: float, hidden: tuple[int, int]
) -> None:
    """Also where the second layer has as many as half of the first."""
    whole = trained(lambda: mlp(64, *hidden), 0)
    assert isinstance(whole, nn.Sequential)
    part = deepcopy(whole)
    maps = [layer for layer in part if isinstance(layer, nn.Linear)]
    for writer, reader in pairwise(maps):
        order = writer.weight.norm(dim=1).argsort(descending=True)
        kept = order[: round(share * len(order))].sort().values
        writer.weight = nn.Parameter(writer.weight.detach()[kept])
        writer.bias = nn.Parameter(writer.bias.detach()[kept])
        reader.weight = nn.Parameter(reader.weight.detach()[:, kept])
    tuned = trained(lambda: part, 1, epochs=5)
    for first, second in ((whole, tuned), (tuned, whole)):
        found = verdict(lake, tmp_path, first, second)
        assert (found["verdict"], found["relation"]) == (DERIVED, "pruned")
        assert float(str(found["similarity"])) >= CLEAR


def permuted(module: NamedCNN, scale: float) -> NamedCNN:
    """The same function with the units of each hidden layer in another order, those of the second and third on other
    scales (ReLU)."""
    found, state = NamedCNN(), {name: value.clone() for name, value in module.state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    first, second, third = (torch.randperm(size, generator=generator) for size in (6, 12, 20))
    for name in (
        "conv1.weight",
        "conv1.bias",
        *(n for n in state if n.startswith("bn1.") and state[n].dim()),
    ):
        state[name] = state[name][first]
    scales = [scale ** torch.randn(size, generator=generator) for size in (12, 20)]
    state["conv2.weight"] = state["conv2.weight"][second][:, first] * scales[0][:, None, None, None]
    state["conv2.bias"] = state["conv2.bias"][second] * scales[0]
    read = state["fc1.weight"].unflatten(1, (12, 4))[third][:, second] / scales[0][:, None]
    state["fc1.weight"] = read.flatten(1) * scales[1][:, None]
    state["fc1.bias"] = state["fc1.bias"][third] * scales[1]
    state["fc2.weight"] = state["fc2.weight"][:, third] / scales[1]
    found.load_state_dict(state)
    return found.eval()


@pytest.mark.parametrize("scale", [1.0, 3.0], ids=["permuted", "rescaled, too"])
def test_a_disguised_network_whose_layers_have_names_is_equivalent_by_assumption(
    lake: Lake, tmp_path: Path, scale: float
) -> None:
    module = trained(NamedCNN, 0, epochs=2)
    assert isinstance(module, NamedCNN)
    disguised = permuted(module, scale)
    x, _ = digits(64)
    assert torch.allclose(module(x), disguised(x), atol=1e-3)
    found = verdict(lake, tmp_path, module, disguised)
    assert found["verdict"] == EQUIVALENT
    assumes = "; ".join(map(str, found["assumes"]))  # type: ignore[call-overload]
    assert "flattened with each one's places together" in assumes
    assert ("relu" in assumes) == (scale > 1)


@pytest.mark.parametrize("config", [{}, RELU], ids=["nothing said", "ReLU"])
def test_a_norm_behind_the_activation_is_not_folded_into_the_layer_before_it(
    lake: Lake, tmp_path: Path, config: dict[str, str]
) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.BatchNorm1d(9), nn.Linear(9, 4)).eval()
    other = deepcopy(module)
    for name in ("0.bias", "2.running_mean"):
        other.state_dict()[name].add_(1)
    x = torch.randn(50, 6)
    assert not torch.allclose(module(x), other(x), atol=0.1)
    assert verdict(lake, tmp_path, module, other, **config)["verdict"] != EQUIVALENT

"""Weights that a file keeps in other parameters, or with their axes swapped."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from tests.weights.logical.states import kinds, random_input, random_state, read_all


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_transposed_convolutions(rank: int, tmp_path: Path) -> None:
    module = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[rank - 1](3, 5, 2)
    tensors = read_all(tmp_path, {f"up.{name}": value for name, value in random_state(module).items()})
    torch.testing.assert_close(tensors["up.weight"], module.weight.transpose(0, 1))
    assert kinds(tensors) == {"up": f"conv{rank}d"}


REPARAMETRISED = {
    "weight norm": (nn.Linear(4, 6), nn.utils.parametrizations.weight_norm, {}),
    "weight norm of old": (nn.Conv2d(3, 6, 2), nn.utils.weight_norm, {}),
    "along another axis": (nn.Conv1d(4, 6, 3), nn.utils.weight_norm, {"dim": 2}),
    "over all": (nn.Conv1d(4, 6, 3), nn.utils.weight_norm, {"dim": None}),
    "spectral norm": (nn.Linear(4, 6), nn.utils.parametrizations.spectral_norm, {}),
    "spectral norm of old": (nn.Conv2d(3, 6, 2), nn.utils.spectral_norm, {}),
    "of a transposed convolution": (nn.ConvTranspose2d(3, 6, 2, bias=False), nn.utils.spectral_norm, {}),
}


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("case", REPARAMETRISED)
def test_reparametrised_weights(case: str, tmp_path: Path) -> None:
    plain, norm, options = REPARAMETRISED[case]
    module = nn.ModuleDict({"part": norm(plain, **options)}).double().eval()
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    for hook in module["part"]._forward_pre_hooks.values():  # the old functions set the weight at each call
        hook(module["part"], ())
    tensors = read_all(tmp_path, module.state_dict())
    torch.testing.assert_close(tensors["part.weight"], module["part"].weight.detach())
    assert {"part.weight"} <= tensors.keys() <= {"part.weight", "part.bias"}


def test_tensors_that_only_look_reparametrised_stay(tmp_path: Path) -> None:
    state = {
        "time_mix_g": random_input(1, 1, 4),
        "time_mix_v": random_input(1, 1, 4),
        "a.weight_g": random_input(3),
    }
    assert read_all(tmp_path, state).keys() == state.keys()


def test_pruned_weights(tmp_path: Path) -> None:
    module = nn.Linear(6, 4)
    prune.random_unstructured(module, "weight", 0.5)
    prune.random_unstructured(module, "bias", 0.5)
    found = read_all(tmp_path, module.state_dict())
    assert torch.equal(found["weight"], module.weight.double())
    assert torch.equal(found["bias"], module.bias.double())
    assert found.keys() == {"weight", "bias"}

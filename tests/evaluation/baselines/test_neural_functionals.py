"""nfn reads chains alone, is blind to permutations, and learns which networks share a task."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from peace_pipeline.evaluation.baselines import neural_functionals
from peace_pipeline.evaluation.baselines.neural_functionals import is_readable, network, weight_space
from peace_pipeline.symmetry.group.actions import act
from peace_pipeline.symmetry.group.elements import Strength, random_element
from peace_pipeline.symmetry.network import Network, Stack
from tests.networks import as_input, networks_of

from ..conftest import listed
from .networks import population, similarity


@pytest.mark.parametrize("architecture", ["mlp", "cnn"])
@pytest.mark.parametrize("mode", ["HNP", "NP"])
def test_nfn_is_blind_to_permutations_and_sees_broken_wiring(architecture: str, mode: str) -> None:
    stack = Stack.of(networks_of(architecture, 3, dtype=torch.float32))
    net = network(weight_space(stack.wiring, stack.tensors), 4, mode)
    element = random_element(stack.wiring, 3, torch.Generator().manual_seed(0), Strength())
    same = stack.with_tensors(act(stack.wiring, stack.tensors, element))
    broken = stack.with_tensors(stack.tensors | {"1.weight": stack.tensors["1.weight"].flip(1)})
    before, after, other = (net(weight_space(each.wiring, each.tensors)) for each in (stack, same, broken))
    assert not all(torch.equal(stack.tensors[name], same.tensors[name]) for name in stack.tensors)
    torch.testing.assert_close(before, after, rtol=1e-4, atol=1e-6)
    assert (other - before).abs().max() > 1e-6


def chain(*layers: nn.Module) -> Network:
    """The network of a module that its config calls an MLP."""
    return as_input("chain", nn.Sequential(*layers).state_dict(), {"model_type": "mlp", "hidden_act": "relu"})


def test_only_chains_are_nfns() -> None:
    assert is_readable(networks_of("cnn", 1)[0].wiring)
    assert not is_readable(networks_of("resnet", 1)[0].wiring)
    assert not is_readable(chain(nn.Linear(4, 3)).wiring), "one layer has no hidden neurons"
    assert not is_readable(chain(nn.Linear(200, 100), nn.Linear(100, 3)).wiring)


def test_norms_are_folded_into_layers_without_biases() -> None:
    some = []
    for number, task in enumerate(("cat", "dog") * 4):
        layers = nn.Conv2d(1, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Conv2d(4, 3, 3), nn.Conv2d(3, 2, 3)
        some.append(listed(replace(chain(*layers), key=str(number)), task=task))
    assert np.isfinite(similarity("nfn", some[:2], some, some)).all()


def test_networks_of_a_task_are_found_in_other_shapes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neural_functionals, "STEPS", 200)  # of so few networks
    found = similarity("nfn", population(0), population(1), population(2, 48))
    tasks = np.arange(24) % 2
    alike = tasks[:, None] == tasks
    assert found[alike].mean() > found[~alike].mean() + 0.5
    assert found[:12, 12:][alike[:12, 12:]].mean() > found[:12, 12:][~alike[:12, 12:]].mean() + 0.5


def test_what_is_no_chain_is_like_nothing() -> None:
    others = [listed(network, task="cat") for network in networks_of("resnet", 3)]
    found = similarity("nfn", others, [*others, *population(1)], [*others, *population(2)])
    assert np.isneginf(found).all()


def test_shuffled_labels_teach_nothing() -> None:
    shuffled = [one._replace(listing=replace(one.listing, shuffled_labels=True)) for one in population(2)]
    assert np.isneginf(similarity("nfn", population(0), population(1), shuffled)).all()

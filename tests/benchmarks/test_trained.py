"""Peers read networks as they should: nfn is blind to permutations, learned probes see what the module answers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from benchmarks.peers.trained import NFN, LearnedProbes, is_chain, weight_space
from benchmarks.peers.zoo import Zoo
from peace_pipeline.symmetry.group.actions import act
from peace_pipeline.symmetry.group.elements import Strength, random_element
from peace_pipeline.symmetry.network import Stack
from peace_pipeline.zoo.trained import build
from tests.networks import networks_of


@pytest.mark.parametrize("architecture", ["mlp", "cnn"])
@pytest.mark.parametrize("mode", ["HNP", "NP"])
def test_nfn_is_blind_to_permutations_and_sees_broken_wiring(architecture: str, mode: str) -> None:
    stack = Stack.of(networks_of(architecture, 3, dtype=torch.float32))
    net = NFN.net(weight_space(stack), 4, mode)
    element = random_element(stack.wiring, 3, torch.Generator().manual_seed(0), Strength())
    same = stack.with_tensors(act(stack.wiring, stack.tensors, element))
    broken = stack.with_tensors(stack.tensors | {"1.weight": stack.tensors["1.weight"].flip(1)})
    before, after, other = (net(weight_space(each)) for each in (stack, same, broken))
    assert not all(torch.equal(stack.tensors[name], same.tensors[name]) for name in stack.tensors)
    torch.testing.assert_close(before, after, rtol=1e-4, atol=1e-6)
    assert (other - before).abs().max() > 1e-6


def test_only_chains_are_nfns() -> None:
    assert is_chain(Stack.of(networks_of("cnn", 1)))
    assert not is_chain(Stack.of(networks_of("resnet", 1)))


def test_learned_probes_hear_the_networks_own_modules(zoo: Zoo) -> None:
    peer = LearnedProbes(zoo, 8, np.arange(0))
    group = next(number for number, config in enumerate(peer.configs) if config["model_type"] == "cnn")
    place = peer.groups[group][1]
    module = build(peer.configs[group]).eval()
    module.load_state_dict(load_file(zoo.folder(place) / "model.safetensors"))
    answers = peer.answers(group, torch.tensor([0, 1]))
    torch.testing.assert_close(answers[1], module(peer.inputs(peer.configs[group])), rtol=1e-4, atol=1e-5)
    peer(group, torch.tensor([0, 1])).sum().backward()
    assert peer.probes.grad is not None
    assert peer.probes.grad.abs().sum() > 0

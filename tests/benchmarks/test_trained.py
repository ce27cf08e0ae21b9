"""Peers read networks as they should: learned probes see what the module answers."""

from __future__ import annotations

import numpy as np
import torch
from safetensors.torch import load_file

from benchmarks.peers.trained import LearnedProbes
from benchmarks.peers.zoo import Zoo
from peace_pipeline.zoo.trained import build


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

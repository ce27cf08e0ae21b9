"""Experts, a tensor each or all in one, are one matrix a layer, and can be written back."""

from __future__ import annotations

import torch

from peace_pipeline.evaluation.derivatives import InMemory
from peace_pipeline.weights.checkpoint import Checkpoint
from peace_pipeline.weights.logical import logical

E, HIDDEN, WIDTH = 3, 4, 5
GATE, UP, DOWN = torch.randn(E, HIDDEN, WIDTH), torch.randn(E, HIDDEN, WIDTH), torch.randn(E, WIDTH, HIDDEN)
APART = {
    f"mlp.experts.{expert}.{role}_proj.weight": tensor[expert]
    for expert in range(E)
    for role, tensor in {"gate": GATE, "up": UP, "down": DOWN}.items()
}
NUMBERED = {
    f"mlp.experts.{expert}.w{number}.weight": tensor[expert]
    for expert in range(E)
    for number, tensor in {1: GATE, 3: UP, 2: DOWN}.items()
}
TOGETHER = {"mlp.experts.gate_up_proj": torch.cat([GATE, UP], 1), "mlp.experts.down_proj": DOWN}
THREE = {"mlp.experts.gate_proj": GATE, "mlp.experts.up_proj": UP, "mlp.experts.down_proj.weight": DOWN}
IN_TURN = {
    "mlp.experts.gate_up_proj": torch.stack([GATE, UP], 2).flatten(1, 2).mT.contiguous(),
    "mlp.experts.down_proj": DOWN.mT.contiguous(),
}
WANTED = {
    "mlp.experts.gate_proj.weight": GATE.flatten(0, 1),
    "mlp.experts.up_proj.weight": UP.flatten(0, 1),
    "mlp.experts.down_proj.weight": DOWN.movedim(0, 1).flatten(1),
}


def test_all_layouts_give_the_same_matrices_and_take_new_ones() -> None:
    for stored in (APART, NUMBERED, TOGETHER, THREE, IN_TURN):
        network = logical(Checkpoint({"": InMemory(stored)}), {})
        assert network.tensors.keys() == WANTED.keys()
        for name, tensor in WANTED.items():
            torch.testing.assert_close(network.read(name), tensor)
        for name, tensor in stored.items():
            new = network.rewritten(name, lambda _, values: 2 * values)
            assert new is not None
            torch.testing.assert_close(new, 2 * tensor)


def test_experts_of_several_shapes_stay_apart() -> None:
    stored = APART | {"mlp.experts.2.up_proj.weight": torch.randn(HIDDEN + 1, WIDTH)}
    network = logical(Checkpoint({"": InMemory(stored)}), {})
    assert "mlp.experts.2.up_proj.weight" in network.tensors
    assert "mlp.experts.gate_proj.weight" in network.tensors

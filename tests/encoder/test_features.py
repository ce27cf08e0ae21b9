"""What is told about how a layer's columns match what is written to them."""

from __future__ import annotations

import pytest
import torch

from peace_pipeline.encoder.config import EncoderConfig
from peace_pipeline.encoder.features import ALIGNMENTS, Alignment
from peace_pipeline.encoder.inputs import encoder_input
from peace_pipeline.evaluation.symmetry.study import family_sheets
from peace_pipeline.symmetry.form.folding import folded
from peace_pipeline.symmetry.group.perturbations import break_wiring, breakable
from peace_pipeline.symmetry.network import Stack
from peace_pipeline.symmetry.testing import STRENGTHS, acted

SHEETS = {sheet.name: sheet for sheet in family_sheets()}
FAMILIES = ["mlp_tanh", "resnet_basic", "densenet", "convnext", "lstm", "bert", "llama"]


def alignments(stack: Stack) -> torch.Tensor:
    """Features (networks, layers, ALIGNMENTS) of networks as they are."""
    given = encoder_input(folded(stack), EncoderConfig())
    alignment = Alignment(given)
    return torch.stack([alignment.features(i) for i in range(len(given.wiring.layers))], 1)


@pytest.mark.parametrize("name", FAMILIES)
def test_symmetries_leave_alignments(name: str) -> None:
    stack = SHEETS[name].draw(4, 0)
    generator = torch.Generator().manual_seed(0)
    moved = acted(stack.wiring, stack.tensors, STRENGTHS["all"], generator)
    assert torch.allclose(alignments(stack), alignments(stack.with_tensors(moved)), atol=1e-4)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_broken_layer_shows(name: str) -> None:
    stack = folded(SHEETS[name].draw(4, 0))
    broken = break_wiring(stack.wiring, stack.tensors, 1.0, torch.Generator().manual_seed(0))
    change = (alignments(stack.with_tensors(broken)) - alignments(stack)).abs().amax(2).mean(0)
    weights = [wired.weight for wired in stack.wiring.layers]
    for reader, _ in breakable(stack.wiring).values():
        assert change[weights.index(reader.weight)] > 0.2, reader.layer.name


def test_they_are_standard_scores_of_a_random_order() -> None:
    stack = SHEETS["mlp_relu"].draw(256, 0)
    found = alignments(stack)
    assert found.shape == (256, 3, ALIGNMENTS)
    assert (found[:, 0] == 0).all(), "nothing writes the inputs"
    assert 0.4 < found[:, 1, :10].std(0).min() < found[:, 1, :10].std(0).max() < 1.2

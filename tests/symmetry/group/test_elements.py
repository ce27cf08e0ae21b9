"""An element and then its inverse give a network's tensors back."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from peace_pipeline.symmetry.group.actions import act, inverse
from peace_pipeline.symmetry.group.elements import Element
from peace_pipeline.symmetry.testing import STRENGTHS
from tests.networks import folded_tensors
from tests.specimens.running import Saved, Shelf

NAMES = (
    "llama", "qwen3", "bert_classifier", "gpt2", "t5", "lstm_bidirectional", "densenet", "mobilenet_v2",
    "cnn_tanh", "convnext", "llama_lora",
)  # fmt: skip


@pytest.fixture(params=NAMES)
def saved(request: pytest.FixtureRequest, shelf: Shelf) -> Saved:
    return shelf[request.param]


def rounded(element: Element) -> Element:
    """The element with scales that are powers of two."""
    scales = {name: scale.sign() * 2 ** scale.abs().log2().round() for name, scale in element.scales.items()}
    return replace(element, scales=scales)


@pytest.mark.parametrize("kind", ["permutation", "heads", "scale", "signs"])
def test_permutations_powers_of_two_and_signs_come_back_bit_for_bit(saved: Saved, kind: str) -> None:
    tensors, element = saved.tensors, rounded(saved.element(STRENGTHS[kind]))
    acted = act(saved.wiring, tensors, element)
    returned = act(saved.wiring, acted, inverse(saved.wiring, element))
    assert not element.flips
    assert any(not torch.equal(acted[name], tensors[name]) for name in tensors) == any(vars(element).values())
    assert all(torch.equal(returned[name], tensors[name]) for name in tensors)


def test_all_of_it_comes_back_but_for_the_gains_that_were_absorbed(saved: Saved) -> None:
    tensors, element = saved.tensors, saved.element(STRENGTHS["all"])
    acted = act(saved.wiring, tensors, element)
    returned = act(saved.wiring, acted, inverse(saved.wiring, element))
    folded = folded_tensors(saved.wiring, lambda name: returned[name][0])
    for name, expected in folded_tensors(saved.wiring, lambda name: tensors[name][0]).items():
        assert (folded[name] - expected).abs().max() <= 1e-12 * expected.abs().max(), name

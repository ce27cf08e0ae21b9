"""What the encoder is given of wide networks does not hang on the order of their units."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from peace_pipeline.encoder.config import EncoderConfig
from peace_pipeline.encoder.inputs import MOST_UNITS, encoder_input, reduced
from peace_pipeline.evaluation.invariance import Movements, assert_embedding_invariant, by_weights
from peace_pipeline.symmetry.network import Network, stacked
from tests.encoder.encoders import encoder_of
from tests.networks import RELU, as_input


def wide(count: int, units: int) -> list[Network]:
    generator = torch.Generator().manual_seed(0)
    found = []
    for number in range(count):
        state = {
            "0.weight": torch.randn(units, 6, generator=generator, dtype=torch.float64),
            "0.bias": torch.randn(units, generator=generator, dtype=torch.float64),
            "1.weight": torch.randn(3, units, generator=generator, dtype=torch.float64),
        }
        found.append(as_input(f"wide-{number}", state, RELU))
    return found


def test_reduction_of_wide_layers_is_permutation_equivariant() -> None:
    units = MOST_UNITS + 80
    networks = wide(4, units)
    (stack,) = stacked(networks)
    stack = encoder_input(stack, EncoderConfig())
    assert stack.tensors["0.weight"].shape == (4, MOST_UNITS, 6)
    assert stack.tensors["1.weight"].shape == (4, 3, MOST_UNITS)
    assert stack.wiring.groups[stack.wiring.layers[0].out.group].full_size == units
    assert_embedding_invariant(by_weights(encoder_of()), networks)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-4), (torch.float32, 1e-2)])
@pytest.mark.parametrize("bias", [0.0, 1e-3, 1.0])
def test_reduction_does_not_hang_on_rounding(bias: float, dtype: torch.dtype, bound: float) -> None:
    """A rank that rounding decides moves an embedding by 0.3; an untrained encoder's small spread, by 0.001."""
    networks = [
        replace(each, tensors={name: t * bias if "bias" in name else t for name, t in each.tensors.items()})
        for each in wide(4, MOST_UNITS + 80)
    ]
    moved = Movements(by_weights(encoder_of()), stacked(networks), dtype, seed=0).still()
    assert max(moved.values()) <= bound


def test_reduction_keeps_weights_together() -> None:
    (stack,) = stacked(wide(1, 9))
    single, kept = stack.tensors, reduced(stack, 4).tensors
    position = [single["0.bias"][0].tolist().index(value) for value in kept["0.bias"][0].tolist()]
    assert torch.equal(kept["0.weight"], single["0.weight"][:, position][:, :, [0, 2, 3, 5]])
    assert torch.equal(kept["1.weight"], single["1.weight"][:, :, position])

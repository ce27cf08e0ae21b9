"""Learned probe inputs, pushed through the network inside the encoder: every neuron gets its activations.

What a neuron does to a probe is the same however the neurons are ordered, and is scaled as the neuron is, so in
the scale-canonical form activations are invariant features of the function itself (compare the probe features of
Kofinas et al. 2024, and ProbeGen, Kahana et al. 2024). For chains of linear layers with ReLU the pass is exact. A
convolution is collapsed to a learned combination of its kernel positions, a different one for each probe.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from peace_pipeline.encoder import features
from peace_pipeline.symmetry.network import Stack
from peace_pipeline.symmetry.wiring.symmetries import SCALE
from peace_pipeline.symmetry.wiring.types import FIXED, WiredLayer

Activations = dict[str, torch.Tensor]


class Probes(nn.Module):
    """``count`` probes: a pattern over the input neurons and a weighting of kernel positions each."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count
        self.pattern = nn.Parameter(torch.randn(features.BASIS, count))
        self.collapse = nn.Sequential(
            nn.Linear(features.POSITION_FEATURES, 32), nn.GELU(), nn.Linear(32, count)
        )

    def forward(self, stack: Stack) -> Activations:
        """Activations (group → (batch, units, probes)) before the non-linearity, compressed.

        Layers are taken in order. A layer that writes a group which was written before adds to what has passed
        the non-linearity, as a residual block does (where a block's shortcut has weights, this is an approximation).
        Neurons that no probe reaches have zeros.
        """
        reached: Activations = {}
        for wired in stack.wiring.layers:
            arriving = self._through(stack, wired, self._source(stack, wired, reached))
            before = reached.get(wired.out.group)
            reached[wired.out.group] = arriving if before is None else before.relu() + arriving
        return {name: torch.asinh(values) for name, values in reached.items()}

    def _source(self, stack: Stack, wired: WiredLayer, reached: Activations) -> torch.Tensor:
        """What the layer reads (batch, in, probes): probes at the inputs, else rectified activations."""
        if wired.into is None:
            return self.pattern.new_ones(len(stack), 1, self.count)
        return self._at(stack, wired.into.group, reached)

    def _at(self, stack: Stack, name: str, reached: Activations) -> torch.Tensor:
        group = stack.wiring.groups[name]
        if group.parts:
            return torch.cat([self._at(stack, part, reached) for part in group.parts], 1)
        if name in reached:
            return _steadied(stack, name, reached[name].relu())
        if group.kind != FIXED:
            return self.pattern.new_zeros(len(stack), group.entries, self.count)
        basis = features.input_basis(group.entries, self.pattern.dtype).to(self.pattern.device)
        return (basis @ self.pattern).expand(len(stack), -1, -1)

    def _through(self, stack: Stack, wired: WiredLayer, source: torch.Tensor) -> torch.Tensor:
        """The layer's map (batch, in, probes) → (batch, out, probes)."""
        weight = stack.tensors[wired.weight]
        inputs = 1 if wired.is_diagonal else source.shape[1]
        weight = weight.reshape(*weight.shape[:2], inputs, -1)
        if wired.is_diagonal:
            place = features.position_features(wired, weight.dtype).to(weight.device)
            table = self.collapse(place) / math.sqrt(len(place))
            out = (weight[:, :, 0] @ table) * source
        elif weight.shape[-1] == 1:
            out = weight[..., 0] @ source
        else:
            place = features.position_features(wired, weight.dtype).to(weight.device)
            table = self.collapse(place) / math.sqrt(len(place))
            flat = weight.movedim(-1, 1).flatten(2)
            collapsed = (table.mT @ flat).unflatten(-1, weight.shape[1:3])
            out = (collapsed @ source.movedim(-1, 1)[..., None])[..., 0].movedim(1, -1)
        if "bias" in wired.layer.tensors:
            out = out + stack.tensors[wired.layer.tensors["bias"]][..., None]
        return out


def _steadied(stack: Stack, name: str, values: torch.Tensor) -> torch.Tensor:
    """Values of a residual stream of which norms read, over their root mean square: sums over many blocks grow."""
    wiring = stack.wiring
    if SCALE in wiring.groups[name].actions or len(wiring.writers(name)) < 2:
        return values
    return values / (values.square().mean(1, keepdim=True) + 1e-6).sqrt()

"""What the encoder is told besides the weights: positions, sizes, kinds and depths. Nothing here is learned."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch

from peace_pipeline.symmetry.network import Stack
from peace_pipeline.symmetry.wiring.types import FIXED, INDEPENDENT, PERMUTABLE, WiredLayer

FREQUENCIES = 8
NODE_FEATURES = 5 + 2 + 2 * FREQUENCIES
LAYER_FEATURES = 3 + 2 * FREQUENCIES + 1
POSITION_FEATURES = 9
EDGE_EXPANSION = 3
KINDS = (
    "linear",
    "conv1d",
    "conv2d",
    "conv3d",
    "depthwise",
    "embedding",
    "norm",
    "tensor",
    "attention_q",
    "attention_k",
    "attention_v",
    "attention_o",
    "recurrent",
    "lora_a",
    "lora_b",
)
_KIND_OF_RANK = {2: "linear", 3: "conv1d", 4: "conv2d", 5: "conv3d"}
BASIS = 64
ALIGNMENTS = 3
CENTRES = (-2.0, -1.0, -0.5, -0.2, 0.2, 0.5, 1.0, 2.0)
STATISTICS = 9 + len(CENTRES) + ALIGNMENTS


def fourier(values: torch.Tensor) -> torch.Tensor:
    """Sines and cosines of ``values`` in [0, 1] at octaves: (…,) → (…, 2·FREQUENCIES)."""
    angles = values[..., None] * math.pi * 2.0 ** torch.arange(FREQUENCIES, dtype=values.dtype)
    return torch.cat([angles.sin(), angles.cos()], -1)


def node_features(stack: Stack, group: str, dtype: torch.dtype) -> torch.Tensor:
    """Features (units, NODE_FEATURES) of a group's neurons: alike for all of a group that is not fixed."""
    wiring, own = stack.wiring, stack.wiring.groups[group]
    written, read = bool(wiring.writers(group)), bool(wiring.readers(group))
    kinds = [own.kind == PERMUTABLE, own.kind == INDEPENDENT, own.kind == FIXED, written, read]
    positions = [i for i, layer in enumerate(wiring.layers) if layer.out.group == group]
    depth = (positions[0] + 1) / len(wiring.layers) if positions else 0.0
    shared = torch.tensor(
        [*map(float, kinds), math.log(stack.wiring.groups[group].full_size) / 4, depth], dtype=dtype
    )
    count = own.entries
    place = torch.zeros(count, 2 * FREQUENCIES, dtype=dtype)
    if own.kind == FIXED and count > 1:
        place = fourier(torch.linspace(0, 1, count, dtype=dtype) * (1 - 1 / count))
    return torch.cat([shared.expand(count, -1), place], 1)


def input_basis(size: int, dtype: torch.dtype) -> torch.Tensor:
    """Cosines (size, BASIS) of rising frequency over the input neurons (the DCT's basis, cut off)."""
    place = (torch.arange(size, dtype=dtype) + 0.5) / size
    return (place[:, None] * torch.arange(BASIS, dtype=dtype) * math.pi).cos() * math.sqrt(2 / BASIS)


class Alignment:
    """How a layer's columns match the rows of the layers that write what it reads.

    Gradient descent couples the two (under gradient flow W_l W_lᵀ − W_{l+1}ᵀ W_{l+1} stays constant: Du, Hu and
    Lee 2018, theorem 2.1), and any other order of the columns destroys it while it keeps the statistics of both
    layers. The features are the cosine between the off-diagonal Gram matrices of a group's rows and columns, and
    the correlations of the columns' norms with the rows' norms and with the biases. Queries read what keys write.
    What passes a layer of single channels is matched with what was there before it.
    """

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._written: dict[str, _Written | None] = {}

    def features(self, position: int) -> torch.Tensor:
        """Features (batch, ALIGNMENTS) of a layer; 0 where nothing that it reads is written."""
        stack, wired = self._stack, self._stack.wiring.layers[position]
        weight = stack.tensors[wired.weight]
        axis = next((axis for axis in reversed(wired.axes) if axis.charge < 0), wired.into)
        written = self._of(axis.group) if axis else None
        if axis is None or written is None:
            return weight.new_zeros(len(weight), ALIGNMENTS)
        size = stack.wiring.groups[axis.group].entries
        columns = weight.movedim(1 + axis.dim, 1).reshape(len(weight), size, -1)
        norm = columns.norm(dim=2)
        return torch.stack(
            [
                _cosine((_gram(columns) * written.related).flatten(1), written.gram.flatten(1)),
                _cosine(_centred(norm), _centred(written.norm)),
                _cosine(_centred(norm), _centred(written.shift)),
            ],
            1,
        )

    def _of(self, group: str) -> _Written | None:
        if group not in self._written:
            self._written[group] = self._find(group)
        return self._written[group]

    def _find(self, name: str) -> _Written | None:
        wiring, tensors = self._stack.wiring, self._stack.tensors
        group = wiring.groups[name]
        if group.parts:
            return _joined([self._of(part) for part in group.parts])
        writers = [writer for writer in wiring.writers(name) if writer.out.charge > 0]
        if group.kind != PERMUTABLE or not writers:
            return None
        if all(writer.is_diagonal and writer.into for writer in writers):
            source = writers[0].into
            return self._of(source.group) if source else None
        rows = [tensors[writer.weight].flatten(2) for writer in writers if tensors[writer.weight].dim() > 2]
        if not rows:
            return None
        biases = [
            tensors[writer.layer.tensors["bias"]] for writer in writers if "bias" in writer.layer.tensors
        ]
        gram = torch.stack([_gram(row) for row in rows]).sum(0)
        norm = torch.stack([row.norm(dim=2) for row in rows]).sum(0)
        shift = torch.stack(biases).sum(0) if biases else torch.zeros_like(norm)
        related = 1 - torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
        return _Written(gram * related, norm, shift, related)


class _Written(NamedTuple):
    """Of what writes a group: the off-diagonal Gram matrix of its rows (batch, n, n), their norms, the biases (batch,
    n), and 1 for pairs of neurons that are written from the same inputs (n, n)."""

    gram: torch.Tensor
    norm: torch.Tensor
    shift: torch.Tensor
    related: torch.Tensor


def _joined(parts: Sequence[_Written | None]) -> _Written | None:
    found = [part for part in parts if part is not None]
    if len(found) < len(parts):
        return None
    grams = torch.stack(
        [torch.block_diag(*matrices) for matrices in zip(*(part.gram for part in found), strict=True)]
    )
    norm, shift = (torch.cat([part[i] for part in found], 1) for i in (1, 2))
    return _Written(grams, norm, shift, torch.block_diag(*(part.related for part in found)))


def _gram(rows: torch.Tensor) -> torch.Tensor:
    unit = _unit(rows)
    return unit @ unit.mT


def _unit(rows: torch.Tensor) -> torch.Tensor:
    """Rows over their mean norm, so that no network outweighs another."""
    return rows / (rows.norm(dim=2).mean(1)[:, None, None] + 1e-12)


def _centred(values: torch.Tensor) -> torch.Tensor:
    return values - values.mean(1, keepdim=True)


def _cosine(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Cosine (batch,) of two vectors a network; near 0 where one of them is constant up to rounding."""
    scale = a.norm(dim=1) * b.norm(dim=1)
    return (a * b).sum(1) / (scale + 1e-3 * math.sqrt(a.shape[1]))


def layer_features(stack: Stack, position: int, dtype: torch.dtype) -> torch.Tensor:
    """Features (LAYER_FEATURES,) of a layer: log sizes and depth."""
    wired, count = stack.wiring.layers[position], len(stack.wiring.layers)
    inputs = stack.wiring.groups[wired.into.group].full_size if wired.into else 1
    sizes = [stack.wiring.groups[wired.out.group].full_size, inputs, kernel_size(wired)]
    depth = torch.tensor([position / count, (count - 1 - position) / count], dtype=dtype)
    scalars = torch.tensor([*(math.log(size) / 4 for size in sizes), math.log(count) / 4], dtype=dtype)
    return torch.cat([scalars, fourier(depth)[:, :FREQUENCIES].flatten()])


def kind_index(wired: WiredLayer) -> int:
    """Where a layer's kind stands in KINDS; kinds that are not there are what their weight's rank makes them."""
    kind = wired.layer.kind
    return KINDS.index(kind if kind in KINDS else _KIND_OF_RANK.get(len(wired.layer.shape), "tensor"))


def kernel_size(wired: WiredLayer) -> int:
    """Number of weights between two neurons: kernel positions, or positions that a flattening joined."""
    return math.prod(wired.layer.shape[2:]) * (wired.into.block if wired.into else 1)


def position_features(wired: WiredLayer, dtype: torch.dtype) -> torch.Tensor:
    """Coordinates (positions, POSITION_FEATURES) of the weights between two neurons."""
    kernel = wired.layer.shape[2:]
    block = wired.into.block if wired.into else 1
    side = math.isqrt(block)
    extents = kernel or ((side, side) if side * side == block else (block,))
    axes = [
        torch.linspace(-1, 1, size, dtype=dtype) if size > 1 else torch.zeros(1, dtype=dtype)
        for size in extents
    ]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(extents))
    y, x = (
        grid[:, 0],
        grid[:, min(1, len(extents) - 1)] if len(extents) > 1 else torch.zeros(len(grid), dtype=dtype),
    )
    one = torch.ones_like(y)
    return torch.stack(
        [one, y, x, y * y, x * x, y * x, (math.pi * y).sin(), (math.pi * x).sin(), one * (block > 1)], -1
    )


def edge_values(stack: Stack, position: int) -> torch.Tensor:
    """The layer's weights (batch, out, in, positions), scaled by the root of the fan-in and compressed.

    Neurons of a diagonal layer have one input each.
    """
    wired = stack.wiring.layers[position]
    weight = stack.tensors[wired.weight]
    read = wired.into if wired.into and not wired.is_diagonal else None
    inputs = stack.wiring.groups[read.group].entries if read else 1
    fan_in = (stack.wiring.groups[read.group].full_size if read else 1) * kernel_size(wired)
    return compressed(weight.reshape(*weight.shape[:2], inputs, -1) * math.sqrt(fan_in))


def compressed(values: torch.Tensor) -> torch.Tensor:
    """asinh of values that need no gradient: torch's own takes ten times as long on a CPU.

    Written so that neither small values lose digits nor the squares of large ones overflow.
    """
    size = values.abs()
    return torch.copysign(
        torch.log1p(size + size * (size / (1 + torch.hypot(size, size.new_ones(()))))), values
    )


def expand(values: torch.Tensor) -> torch.Tensor:
    """Non-linear features of each weight: (batch, positions, …) → (batch, EDGE_EXPANSION · positions, …).

    The last is tanh(3 w), by the sigmoid, which is several times as fast on a CPU.
    """
    return torch.cat([values, values.abs(), 2 * torch.sigmoid(6 * values) - 1], 1)


def statistics(values: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Invariant statistics (batch, STATISTICS − ALIGNMENTS) of a layer's compressed weights and biases."""
    flat = values.flatten(1)
    magnitude = flat.abs()
    mean = flat.mean(1)
    spread = (flat - mean[:, None]).square().mean(1).sqrt()  # torch.std takes ten times as long on a CPU
    weights = [
        mean,
        spread,
        magnitude.mean(1),
        (magnitude + 1e-3).sqrt().mean(1),
        flat.amin(1),
        flat.amax(1),
    ]
    steep = 8 * flat
    weights += [torch.sigmoid(steep - 8 * centre).mean(1) for centre in CENTRES]
    biases = [bias.mean(1), bias.std(1, correction=0), bias.abs().amax(1)] if bias is not None else []
    padding = [torch.zeros_like(spread)] * (STATISTICS - ALIGNMENTS - len(weights) - len(biases))
    return torch.stack([*weights, *biases, *padding], 1)

"""What the encoder is told besides the weights: positions, sizes, kinds and depths. Nothing here is learned."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

from peace_pipeline.symmetry.network import Stack
from peace_pipeline.symmetry.wiring.types import FIXED, INDEPENDENT, PERMUTABLE, Axis, WiredLayer

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
ALIGNMENTS = (2 * 4 + 2) + (2 * 2 + 2)
CENTRES = (-2.0, -1.0, -0.5, -0.2, 0.2, 0.5, 1.0, 2.0)
STATISTICS = 9 + len(CENTRES) + ALIGNMENTS


def fourier(values: torch.Tensor) -> torch.Tensor:
    """Sines and cosines of ``values`` in [0, 1] at octaves: (…,) → (…, 2·FREQUENCIES)."""
    angles = values[..., None] * math.pi * 2.0 ** torch.arange(FREQUENCIES, dtype=values.dtype)
    return torch.cat([angles.sin(), angles.cos()], -1)


def node_features(stack: Stack, group: str, dtype: torch.dtype, *, placed: bool = False) -> torch.Tensor:
    """Features (units, NODE_FEATURES) of a group's neurons: alike for all of a group that is not fixed, but for their
    places where they are ``placed``."""
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
    if (placed or own.kind == FIXED) and count > 1:
        place = fourier(torch.linspace(0, 1, count, dtype=dtype) * (1 - 1 / count))
    return torch.cat([shared.expand(count, -1), place], 1)


def input_basis(size: int, dtype: torch.dtype) -> torch.Tensor:
    """Cosines (size, BASIS) of rising frequency over the input neurons (the DCT's basis, cut off)."""
    place = (torch.arange(size, dtype=dtype) + 0.5) / size
    return (place[:, None] * torch.arange(BASIS, dtype=dtype) * math.pi).cos() * math.sqrt(2 / BASIS)


class Alignment:
    """How a layer's columns match the rows of the layers that write what it reads, and the columns of its first reader.

    Gradient descent couples them (under gradient flow W_l W_lᵀ − W_{l+1}ᵀ W_{l+1} stays constant: Du, Hu and
    Lee 2018, theorem 2.1), and any other order of the columns destroys it while it keeps the statistics of both
    layers. The features are correlations over the neurons of a group: of columns with rows (and their biases) by norm
    and by peakedness, of their Gram matrices off the diagonal and these squared, and the same but for the biases with
    the columns of the first layer that reads the group. They are standard scores, in deviations of what a random
    order of n neurons gives (√n times the correlation), compressed: small groups weigh as much as large ones.
    Queries read what keys write, beside the stream. What passes a layer of single channels is matched with what was
    there before it.
    """

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._written: dict[str, _Side | None] = {}
        self._read: dict[str, _Side] = {}

    def features(self, position: int) -> torch.Tensor:
        """Features (batch, ALIGNMENTS) of a layer, asked for in order; 0 where nothing that it reads is written."""
        wired = self._stack.wiring.layers[position]
        total = self._stack.tensors[wired.weight].new_zeros(len(self._stack), ALIGNMENTS)
        for axis in wired.axes:
            if axis.charge < 0:
                total = total + self._of_axis(wired, axis)
        return total

    def _of_axis(self, wired: WiredLayer, axis: Axis) -> torch.Tensor | float:
        written = self._of(axis.group)
        if written is None:
            return 0.0
        weight = self._stack.tensors[wired.weight]
        size = self._stack.wiring.groups[axis.group].entries
        columns = _side([weight.movedim(1 + axis.dim, 1).reshape(len(weight), size, -1)])
        matched = [_matched(columns, written)]
        first = self._read.setdefault(axis.group, columns)
        if first is not columns:
            matched.append(_matched(columns, first))
        found = torch.cat(matched, 1)
        return nn.functional.pad(found, (0, ALIGNMENTS - found.shape[1]))

    def _of(self, group: str) -> _Side | None:
        if group not in self._written:
            self._written[group] = self._find(group)
        return self._written[group]

    def _find(self, name: str) -> _Side | None:
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
        shift = torch.stack(biases).sum(0) if biases else rows[0].new_zeros(rows[0].shape[:2])
        return _side(rows, shift)


class _Side(NamedTuple):
    """Of what writes or reads a group: the Gram matrix of its rows or columns (batch, n, n), ``units`` (batch,
    properties, n), and 1 for pairs of neurons that are written from the same inputs (n, n)."""

    gram: torch.Tensor
    units: torch.Tensor
    related: torch.Tensor


def _side(weights: Sequence[torch.Tensor], shift: torch.Tensor | None = None) -> _Side:
    """Of rows (batch, n, values): their norms, how peaked they are (less where norms are small and noise counts), and
    of biases (batch, n) their values and magnitudes."""
    unit = [_unit(rows) for rows in weights]
    norm = torch.stack([rows.norm(dim=2) for rows in unit]).sum(0)
    peak = torch.stack([rows.square().square().sum(2) ** 0.25 for rows in unit]).sum(0)
    biases = [] if shift is None else [shift, shift.abs()]
    gram = torch.stack([rows @ rows.mT for rows in unit]).sum(0)
    related = torch.ones_like(gram[0])
    return _Side(gram, torch.stack([norm, peak / (norm + 0.3), *biases], 1), related)


def _joined(parts: Sequence[_Side | None]) -> _Side | None:
    found = [part for part in parts if part is not None]
    if len(found) < len(parts):
        return None
    grams = torch.stack(
        [torch.block_diag(*matrices) for matrices in zip(*(part.gram for part in found), strict=True)]
    )
    units = torch.cat([part.units for part in found], 2)
    return _Side(grams, units, torch.block_diag(*(part.related for part in found)))


def _matched(columns: _Side, other: _Side) -> torch.Tensor:
    """Standard scores (batch, properties of both + 2) of how two sides of a group agree."""
    units = _standard(columns.units) @ _standard(other.units).mT
    n = columns.gram.shape[1]
    pairs = (other.related.triu(1) > 0).flatten().nonzero()[:, 0]
    a, b = (side.gram.flatten(1)[:, pairs] for side in (columns, other))
    grams = torch.stack([a, a.square()], 1), torch.stack([b, b.square()], 1)
    both = (_standard(grams[0]) * _standard(grams[1])).sum(2)
    return compressed(torch.cat([units.flatten(1) / math.sqrt(n), both / math.sqrt(max(len(pairs), 1))], 1))


def _unit(rows: torch.Tensor) -> torch.Tensor:
    """Rows over their mean norm, so that no network outweighs another."""
    return rows / (rows.norm(dim=2).mean(1)[:, None, None] + 1e-12)


def _standard(values: torch.Tensor) -> torch.Tensor:
    """Values (…, n) of mean 0 and deviation 1; near 0 where they are constant up to rounding."""
    if not values.shape[-1]:
        return values
    centred = values - values.mean(-1, keepdim=True)
    deviation = centred.square().mean(-1, keepdim=True)
    return centred / (deviation + 1e-3).sqrt()


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

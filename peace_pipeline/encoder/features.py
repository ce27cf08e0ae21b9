"""What the encoder is told besides the weights: positions, sizes, kinds and depths. Nothing here is learned."""

from __future__ import annotations

import math

import torch

from peace_pipeline.encoder.bucket import Bucket
from peace_pipeline.symmetry.wiring import FIXED, INDEPENDENT, PERMUTABLE, WiredLayer

FREQUENCIES = 8
NODE_FEATURES = 5 + 2 + 2 * FREQUENCIES
LAYER_FEATURES = 3 + 2 * FREQUENCIES + 1
POSITION_FEATURES = 9
EDGE_EXPANSION = 3
KINDS = ("linear", "conv1d", "conv2d", "conv3d", "depthwise", "embedding", "norm", "tensor")
CENTRES = (-2.0, -1.0, -0.5, -0.2, 0.2, 0.5, 1.0, 2.0)
STATISTICS = 9 + len(CENTRES)


def fourier(values: torch.Tensor) -> torch.Tensor:
    """Sines and cosines of ``values`` in [0, 1] at octaves: (…,) → (…, 2·FREQUENCIES)."""
    angles = values[..., None] * math.pi * 2.0 ** torch.arange(FREQUENCIES, dtype=values.dtype)
    return torch.cat([angles.sin(), angles.cos()], -1)


def node_features(bucket: Bucket, group: str, dtype: torch.dtype) -> torch.Tensor:
    """Features (units, NODE_FEATURES) of a group's neurons: alike for all of a group that is not fixed."""
    wiring, own = bucket.wiring, bucket.wiring.groups[group]
    written, read = bool(wiring.writers(group)), bool(wiring.readers(group))
    kinds = [own.kind == PERMUTABLE, own.kind == INDEPENDENT, own.kind == FIXED, written, read]
    positions = [i for i, layer in enumerate(wiring.layers) if layer.out.group == group]
    depth = (positions[0] + 1) / len(wiring.layers) if positions else 0.0
    shared = torch.tensor([*map(float, kinds), math.log(bucket.sizes[group]) / 4, depth], dtype=dtype)
    place = torch.zeros(own.size, 2 * FREQUENCIES, dtype=dtype)
    if own.kind == FIXED and own.size > 1:
        place = fourier(torch.linspace(0, 1, own.size, dtype=dtype) * (1 - 1 / own.size))
    return torch.cat([shared.expand(own.size, -1), place], 1)


def layer_features(bucket: Bucket, position: int, dtype: torch.dtype) -> torch.Tensor:
    """Features (LAYER_FEATURES,) of a layer: log sizes and depth."""
    wired, count = bucket.wiring.layers[position], len(bucket.wiring.layers)
    inputs = bucket.sizes[wired.into.group] if wired.into else 1
    sizes = [bucket.sizes[wired.out.group], inputs, kernel_size(wired)]
    depth = torch.tensor([position / count, (count - 1 - position) / count], dtype=dtype)
    scalars = torch.tensor([*(math.log(size) / 4 for size in sizes), math.log(count) / 4], dtype=dtype)
    return torch.cat([scalars, fourier(depth)[:, :FREQUENCIES].flatten()])


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


def edge_values(bucket: Bucket, position: int) -> torch.Tensor:
    """The layer's weights (batch, out, in, positions), scaled by the root of the fan-in and compressed."""
    wired = bucket.wiring.layers[position]
    weight = bucket.tensors[wired.layer.tensors["weight"]]
    inputs = bucket.wiring.groups[wired.into.group].size if wired.into else 1
    fan_in = (bucket.sizes[wired.into.group] if wired.into else 1) * kernel_size(wired)
    return torch.asinh(weight.reshape(*weight.shape[:2], inputs, -1) * math.sqrt(fan_in))


def expand(values: torch.Tensor) -> torch.Tensor:
    """Non-linear features of each weight: (…,) → (…, EDGE_EXPANSION)."""
    return torch.stack([values, values.abs(), torch.tanh(3 * values)], -1)


def statistics(values: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """Invariant statistics (batch, STATISTICS) of a layer's compressed weights and biases."""
    flat = values.flatten(1)
    magnitude = flat.abs()
    spread = flat.std(1, correction=0)
    weights = [
        flat.mean(1),
        spread,
        magnitude.mean(1),
        (magnitude + 1e-3).sqrt().mean(1),
        flat.amin(1),
        flat.amax(1),
    ]
    weights += [torch.sigmoid(8 * (flat - centre)).mean(1) for centre in CENTRES]
    biases = [bias.mean(1), bias.std(1, correction=0), bias.abs().amax(1)] if bias is not None else []
    padding = [torch.zeros_like(spread)] * (STATISTICS - len(weights) - len(biases))
    return torch.stack([*weights, *biases, *padding], 1)

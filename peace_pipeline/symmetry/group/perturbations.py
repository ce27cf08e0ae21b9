"""Changes of a network's function: broken twins, noise, dropped weights.

Tensors are a mapping name → (batch, *shape): ``batch`` networks of one wiring at a time. All functions return
a new mapping and leave the given one as it is.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from peace_pipeline.symmetry.group.actions import entries, take
from peace_pipeline.symmetry.group.elements import Tensors
from peace_pipeline.symmetry.wiring.symmetries import GAIN
from peace_pipeline.symmetry.wiring.types import PERMUTABLE, Axis, WiredLayer, Wiring


def break_wiring(
    wiring: Wiring,
    tensors: Mapping[str, torch.Tensor],
    share: torch.Tensor | float,
    generator: torch.Generator,
) -> Tensors:
    """A broken twin: another function with the same statistics in every layer.

    In the first reader of each hidden group, the axis that reads it is permuted alone, among a random ``share``
    (a number or one for each network) of the neurons.
    """
    broken = dict(tensors)
    for reader, axis in breakable(wiring).values():
        weight = reader.weight
        size = wiring.groups[axis.group].entries
        moved = torch.as_tensor(share).expand(len(broken[weight])).mul(size).round().long()
        index = _partial_permutation(len(broken[weight]), size, moved, generator)
        broken[weight] = take(broken[weight], 1 + axis.dim, entries(index, axis.block))
    return broken


def breakable(wiring: Wiring) -> dict[str, tuple[WiredLayer, Axis]]:
    """Hidden group → the first layer that reads it (queries read what keys write), and the axis that does."""
    found: dict[str, tuple[WiredLayer, Axis]] = {}
    for wired in wiring.layers:
        for axis in wired.axes:
            group = wiring.groups[axis.group]
            source = group.along if axis.group != wired.out.group and GAIN in group.actions else group.name
            hidden = wiring.groups[source or group.name]
            if axis.charge < 0 and hidden.kind == PERMUTABLE and not hidden.parts and hidden.entries > 1:
                found.setdefault(hidden.name, (wired, axis))
    return found


def _partial_permutation(
    batch: int, size: int, moved: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """Indices (batch, size) in which ``moved`` random units go round in a random cycle and the others stay."""
    order = torch.rand(batch, size, generator=generator).argsort(1)
    position = torch.arange(size).expand(batch, size)
    successor = torch.where(position + 1 < moved[:, None], position + 1, 0)
    target = torch.where(position < moved[:, None], order.gather(1, successor), order)
    return torch.empty_like(order).scatter(1, order, target)


def add_noise(
    tensors: Mapping[str, torch.Tensor], sigma: torch.Tensor | float, generator: torch.Generator
) -> Tensors:
    """Every tensor with Gaussian noise of ``sigma`` (a number or one a network) times its own deviation."""
    noisy = {}
    for name, tensor in tensors.items():
        flat = tensor.flatten(1)
        deviation = flat.std(1) if flat.shape[1] > 1 else flat.abs().flatten()
        strength = (deviation * torch.as_tensor(sigma, dtype=tensor.dtype)).view(
            -1, *[1] * (tensor.dim() - 1)
        )
        noise = torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
        noisy[name] = tensor + noise * strength
    return noisy


def drop_weights(
    tensors: Mapping[str, torch.Tensor], share: torch.Tensor | float, generator: torch.Generator
) -> Tensors:
    """Tensors in which each value of a matrix or kernel is 0 with probability ``share`` (a number or one a network)."""
    dropped = {}
    for name, tensor in tensors.items():
        limit = torch.as_tensor(share, dtype=tensor.dtype).view(-1, *[1] * (tensor.dim() - 1))
        kept = torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype) >= limit
        dropped[name] = tensor * kept if tensor.dim() > 2 else tensor
    return dropped

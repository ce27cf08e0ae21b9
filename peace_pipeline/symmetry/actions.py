"""Group elements and how they act on a network's tensors: the exact maps, and two that break the function.

Tensors are a mapping name → (batch, *shape): ``batch`` networks of one wiring at a time. All functions return
a new mapping and leave the given one as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

from peace_pipeline.symmetry.wiring import PERMUTE, SCALE, Axis, Wiring

Tensors = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Element:
    """An element of the symmetry group, for a batch of networks.

    ``permutations`` and ``scales`` are group name → (batch, units). The new unit i is the old unit
    ``permutations[i]``, and is ``scales[i]`` times as large.
    """

    permutations: Mapping[str, torch.Tensor] = field(default_factory=dict)
    scales: Mapping[str, torch.Tensor] = field(default_factory=dict)


def random_element(
    wiring: Wiring,
    batch: int,
    generator: torch.Generator,
    *,
    permute: bool = True,
    decades: float = 0.0,
    dtype: torch.dtype = torch.float32,
) -> Element:
    """A random element: uniform permutations, and scales log-uniform in 10^±``decades``."""
    permutations, scales = {}, {}
    if permute:
        for group in wiring.acting(PERMUTE):
            permutations[group.name] = torch.rand(batch, group.size, generator=generator).argsort(1)
    if decades:
        for group in wiring.acting(SCALE):
            exponent = (2 * torch.rand(batch, group.size, generator=generator, dtype=dtype) - 1) * decades
            scales[group.name] = 10**exponent
    return Element(permutations, scales)


def act(wiring: Wiring, tensors: Mapping[str, torch.Tensor], element: Element) -> Tensors:
    """The same function with its hidden units permuted and rescaled; works before and after folding."""
    acted = dict(tensors)
    for wired in wiring.layers:
        own = (wired.layer, wired.norm) if wired.norm else (wired.layer,)
        out, into = wired.out, wired.into
        for name in (name for layer in own for name in layer.tensors.values()):
            acted[name] = _permute(acted[name], 1, out, element)
        weight = wired.layer.tensors.get("weight")
        if into and weight:
            acted[weight] = _permute(acted[weight], 2, into, element)
            acted[weight] = _scale(acted[weight], 2, into, element, -1)
        for name in wired.scaled:
            acted[name] = _scale(acted[name], 1, out, element, 1)
    return acted


def take(tensor: torch.Tensor, axis: int, index: torch.Tensor) -> torch.Tensor:
    """Entries of ``tensor`` (batch, …) along ``axis`` by a separate ``index`` (batch, n) for each network."""
    shape = [1] * tensor.dim()
    shape[0], shape[axis] = index.shape
    size = list(tensor.shape)
    size[axis] = index.shape[1]
    return tensor.gather(axis, index.view(shape).expand(size))


def entries(index: torch.Tensor, block: int) -> torch.Tensor:
    """Neuron indices (batch, n) → indices of the entries that they own (batch, n·block)."""
    return (index[..., None] * block + torch.arange(block)).flatten(1)


def _permute(tensor: torch.Tensor, axis: int, over: Axis, element: Element) -> torch.Tensor:
    permutation = element.permutations.get(over.group)
    return tensor if permutation is None else take(tensor, axis, entries(permutation, over.block))


def _scale(tensor: torch.Tensor, axis: int, over: Axis, element: Element, power: int) -> torch.Tensor:
    scale = element.scales.get(over.group)
    return (
        tensor if scale is None else tensor * along(scale**power, tensor, axis, over.block).to(tensor.dtype)
    )


def along(values: torch.Tensor, tensor: torch.Tensor, axis: int, block: int = 1) -> torch.Tensor:
    """Per-neuron ``values`` (batch, n), repeated ``block`` times and shaped to broadcast along ``axis``."""
    shape = [1] * tensor.dim()
    shape[0], shape[axis] = values.shape[0], values.shape[1] * block
    return values.repeat_interleave(block, 1).view(shape)


def break_wiring(
    wiring: Wiring,
    tensors: Mapping[str, torch.Tensor],
    share: torch.Tensor | float,
    generator: torch.Generator,
) -> Tensors:
    """A broken twin: another function with the same statistics in every layer.

    In the first reader of each permutable group, the input axis alone is permuted, among a random ``share``
    (a number or one for each network) of the units.
    """
    broken = dict(tensors)
    for group in wiring.acting(PERMUTE):
        reader = wiring.readers(group.name)[0]
        assert reader.into is not None
        name = reader.layer.tensors["weight"]
        batch = broken[name].shape[0]
        moved = torch.as_tensor(share).expand(batch).mul(group.size).round().long()
        index = _partial_permutation(batch, group.size, moved, generator)
        broken[name] = take(broken[name], 2, entries(index, reader.into.block))
    return broken


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

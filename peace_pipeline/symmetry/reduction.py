"""Large networks, one layer in memory at a time: of every large group some neurons are kept, the same in all layers.

Kept are the neurons at evenly spaced ranks of norm (those of fixed groups at evenly spaced positions). Norms are taken
in the scale-canonical form, so the choice depends neither on the order nor on the scale of the neurons; two neurons
whose norms agree up to rounding may take each other's place. Neurons that a byte budget left out are no candidates.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch

from peace_pipeline.symmetry.actions import along, entries
from peace_pipeline.symmetry.canonical import norms_in, to_unit
from peace_pipeline.symmetry.layering import Read, folded_layer
from peace_pipeline.symmetry.wiring import FIXED, SCALE, Axis, WiredLayer, Wiring
from peace_pipeline.weights.errors import ExcessiveSize
from peace_pipeline.weights.layers import Layer
from peace_pipeline.weights.tensors import Part, TensorInfo

LARGE_LAYER = 1 << 20
"""Values. The groups of larger layers are cut."""

MOST_UNITS, LEAST_UNITS = 256, 16
"""Neurons that are kept of a group that is cut: fewer in a network of many layers."""

LARGEST_NETWORK = 1 << 24
"""Values that are kept of a network with fewer neurons than ``MOST_UNITS`` a group."""

_CHUNK = 1 << 20
Tensors = dict[str, torch.Tensor]


class Reduction:
    """What is kept of a network with this wiring and these tensors; ``wiring`` describes what is kept.

    Raises:
        ExcessiveSize: where a byte budget left nothing of a group.
    """

    def __init__(self, wiring: Wiring, infos: Mapping[str, TensorInfo]) -> None:
        self._whole, self._infos = wiring, infos
        self._had = _had(wiring, infos)
        sizes = {name: group.size for name, group in wiring.groups.items()}
        sizes |= {name: len(neurons) for name, neurons in self._had.items()}
        self._kept = _kept_sizes(wiring, sizes)
        self._cut = {name for name, size in self._kept.items() if size < sizes[name]}
        self.wiring = _resized(wiring, self._kept)

    def is_sampled(self, wired: WiredLayer) -> bool:
        """Whether a byte budget left out some of the layer's neurons, or of those that it reads."""
        return any(over.group in self._had for _, over in _axes(wired))

    def layers(self, read: Read) -> Iterator[tuple[int, Tensors]]:
        """Position and folded tensors (``weight``, ``bias``) of each layer; ``read`` gives a tensor by name."""
        chosen = self._choose_shared(read)
        for position, wired in enumerate(self._whole.layers):
            layer = self._read(wired, read)
            for axis, over in _axes(wired):
                if over.group in self._cut:
                    index = chosen.get(over.group)
                    if index is None:
                        index = self._choose(over.group, _norms(layer["weight"], axis, over.block))
                    layer = _taken(layer, axis, entries(index[None], over.block)[0])
            yield position, layer

    def tensors(self, read: Read) -> Tensors:
        """All that is kept, under the names of ``wiring.folded``, without a batch dimension."""
        return {
            f"{position}.{role}": tensor
            for position, layer in self.layers(read)
            for role, tensor in layer.items()
        }

    def _read(self, wired: WiredLayer, read: Read) -> Tensors:
        """A folded layer, as far as it is had."""

        def had(name: str) -> torch.Tensor:
            tensor, part = read(name), self._infos[name].part
            for axis, over in _axes(wired)[: tensor.dim()]:
                tensor = self._restricted(tensor, axis, over, part)
            return tensor

        return folded_layer(wired, had)

    def _restricted(self, tensor: torch.Tensor, axis: int, over: Axis, part: Part | None) -> torch.Tensor:
        neurons = self._had.get(over.group)
        if neurons is None:
            return tensor
        index = entries(neurons[None], over.block)[0]
        if part and part.axis == axis:
            index = torch.searchsorted(part.index, index)
        return tensor.index_select(axis, index)

    def _choose_shared(self, read: Read) -> dict[str, torch.Tensor]:
        """Positions of the neurons that are kept in groups which several layers share: one sweep in the order of data
        flow, as in the scale-canonical form."""
        touching = Counter(over.group for wired in self._whole.layers for _, over in _axes(wired))
        shared = {name for name in self._cut if touching[name] > 1}
        chosen = {name: self._choose(name, None) for name in shared if self._is_fixed(name)}
        scales: dict[str, torch.Tensor] = {}
        for wired in self._whole.layers if shared - chosen.keys() else ():
            out, into = wired.out.group, wired.into
            is_writer = SCALE in self._whole.groups[out].actions and out not in scales
            is_reader = into is not None and into.group in shared - chosen.keys()
            if not (is_writer or is_reader):
                continue
            layer = {role: tensor[None] for role, tensor in self._read(wired, read).items()}
            if into and into.group in scales:
                layer["weight"] = layer["weight"] / along(scales[into.group], layer["weight"], 2, into.block)
            if is_writer:
                scales[out] = to_unit(norms_in(layer["weight"], layer.get("bias")))
            if is_reader:
                assert into is not None
                scaled = (
                    layer["weight"] * along(scales[out], layer["weight"], 1)
                    if out in scales
                    else layer["weight"]
                )
                chosen[into.group] = self._choose(into.group, _norms(scaled[0], 1, into.block))
        return chosen

    def _choose(self, name: str, norms: torch.Tensor | None) -> torch.Tensor:
        """Positions, among the neurons that are had, of those that are kept."""
        count = len(self._had[name]) if name in self._had else self._whole.groups[name].size
        spaced = torch.linspace(0, count - 1, self._kept[name], dtype=torch.float64).round().long()
        return spaced if norms is None or self._is_fixed(name) else norms.argsort()[spaced]

    def _is_fixed(self, name: str) -> bool:
        return self._whole.groups[name].kind == FIXED


def _axes(wired: WiredLayer) -> list[tuple[int, Axis]]:
    return [(0, wired.out), (1, wired.into)] if wired.into else [(0, wired.out)]


def _had(wiring: Wiring, infos: Mapping[str, TensorInfo]) -> dict[str, torch.Tensor]:
    """Group → its neurons that every tensor has, for groups of which some tensor was read in part."""
    had: dict[str, torch.Tensor] = {}
    for wired in wiring.layers:
        norm = wired.norm.tensors.values() if wired.norm else ()
        for part in (infos[name].part for name in (*wired.layer.tensors.values(), *norm)):
            if part is None:
                continue
            over = dict(_axes(wired))[part.axis]
            neurons, present = (part.index // over.block).unique(return_counts=True)
            neurons = neurons[present == over.block]
            others = had.get(over.group, neurons)
            had[over.group] = neurons[torch.isin(neurons, others)]
            if not len(had[over.group]):
                raise ExcessiveSize(f"the byte budget leaves nothing of {wired.layer.name}")
    return had


def _kept_sizes(wiring: Wiring, sizes: Mapping[str, int]) -> dict[str, int]:
    """Group → number of neurons that are kept."""
    large = {
        over.group
        for wired in wiring.layers
        if _values(wired, sizes) > LARGE_LAYER
        for _, over in _axes(wired)
    }
    units = MOST_UNITS
    while True:
        kept = {name: min(size, units) if name in large else size for name, size in sizes.items()}
        if units == LEAST_UNITS or sum(_values(wired, kept) for wired in wiring.layers) <= LARGEST_NETWORK:
            return kept
        units //= 2


def _shape(layer: Layer, wired: WiredLayer, sizes: Mapping[str, int]) -> tuple[int, ...]:
    shape = list(layer.shape)
    for axis, over in _axes(wired)[: len(shape)]:
        shape[axis] = sizes[over.group] * over.block
    return tuple(shape)


def _values(wired: WiredLayer, sizes: Mapping[str, int]) -> int:
    return math.prod(_shape(wired.layer, wired, sizes))


def _resized(wiring: Wiring, sizes: Mapping[str, int]) -> Wiring:
    groups = {
        name: group if sizes[name] == group.size else replace(group, size=sizes[name], whole=group.size)
        for name, group in wiring.groups.items()
    }
    layers = tuple(
        replace(wired, layer=replace(wired.layer, shape=_shape(wired.layer, wired, sizes)))
        for wired in wiring.layers
    )
    return replace(wiring, groups=groups, layers=layers)


def _norms(weight: torch.Tensor, axis: int, block: int) -> torch.Tensor:
    """Norms of the neurons along ``axis`` (each owns ``block`` entries), in float64, a part of the rows at a time."""
    rows = weight.flatten(1) if weight.dim() > 1 else weight[:, None]
    squares = []
    for chunk in rows.split(max(1, _CHUNK // max(1, rows.shape[1]))):
        square = chunk.double().square()
        squares.append(square.sum(1) if axis == 0 else square.sum(0))
    if axis == 0:
        return torch.cat(squares)
    return torch.stack(squares).sum(0).view(weight.shape[1] // block, -1).sum(1)


def _taken(layer: Tensors, axis: int, index: torch.Tensor) -> Tensors:
    return {
        role: tensor.index_select(axis, index)
        if axis < tensor.dim() and (axis == 0 or role == "weight")
        else tensor
        for role, tensor in layer.items()
    }

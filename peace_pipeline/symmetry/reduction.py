"""Large networks, one layer in memory at a time: of every large group some neurons are kept, the same in all layers.

Kept are the neurons at evenly spaced ranks of norm (those of fixed groups at evenly spaced positions). Norms are taken
in the scale-canonical form, so the choice depends neither on the order nor on the scale of the neurons; two neurons
whose norms agree up to rounding may take each other's place. Neurons that a byte budget left out are no candidates.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import torch

from peace_pipeline.symmetry.actions import entries
from peace_pipeline.symmetry.canonical import to_unit
from peace_pipeline.symmetry.layering import folded_layer
from peace_pipeline.symmetry.wiring import FIXED, SCALE, Axis, WiredLayer, Wiring
from peace_pipeline.weights.errors import ExcessiveSize
from peace_pipeline.weights.layers import Layer
from peace_pipeline.weights.tensors import Part, TensorInfo

LARGE_LAYER = 1 << 20
"""Values. The groups of larger layers are cut; in a network of many layers those of smaller ones too."""

MOST_UNITS, LEAST_UNITS = 256, 16
"""Neurons that are kept of a group that is cut: fewer in a network of many layers."""

LARGEST_NETWORK = 1 << 24
"""Values that are kept of a network, unless it has so many layers that ``LEAST_UNITS`` of each are more."""

_CHUNK = 1 << 17
_SLICED = ("float64", "float32", "float16", "bfloat16")
Tensors = dict[str, torch.Tensor]
ReadAs = Callable[[str, torch.dtype | None], torch.Tensor]


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

    def layers(self, read: ReadAs, dtype: torch.dtype = torch.float32) -> Iterator[tuple[int, Tensors]]:
        """Position and folded tensors (``weight``, ``bias``) of each layer, of ``dtype``.

        ``read`` gives a tensor by name, of a dtype or of its own (``None``).
        """
        chosen = self._choose_shared(read, dtype)
        for position, wired in enumerate(self._whole.layers):
            layer = self._read(wired, read, None if self._as_stored(wired) else dtype)
            for axis, index in list(self._kept_of(wired, layer, chosen)):
                layer = _taken(layer, axis, index)
            yield position, {role: tensor.to(dtype) for role, tensor in layer.items()}

    def tensors(self, read: ReadAs, dtype: torch.dtype = torch.float32) -> Tensors:
        """All that is kept, under the names of ``wiring.folded``, without a batch dimension."""
        return {
            f"{position}.{role}": tensor
            for position, layer in self.layers(read, dtype)
            for role, tensor in layer.items()
        }

    def _as_stored(self, wired: WiredLayer) -> bool:
        """Whether a layer is cut before its values are converted: all of a large layer take longer than those kept."""
        is_cut = any(over.group in self._cut for _, over in _axes(wired))
        names = wired.layer.tensors.values()
        return is_cut and not wired.norm and all(self._infos[name].dtype in _SLICED for name in names)

    def _kept_of(
        self, wired: WiredLayer, layer: Tensors, chosen: Mapping[str, torch.Tensor]
    ) -> Iterator[tuple[int, torch.Tensor]]:
        """Axis and entries to keep, for each axis that is cut."""
        for axis, over in _axes(wired):
            if over.group not in self._cut:
                continue
            index = chosen.get(over.group)
            if index is None:
                weight = layer["weight"]
                index = self._choose(
                    over.group, _column_norms(weight, over.block) if axis else _row_norms(weight)
                )
            yield axis, entries(index[None], over.block)[0]

    def _read(self, wired: WiredLayer, read: ReadAs, dtype: torch.dtype | None) -> Tensors:
        """A folded layer, as far as it is had."""

        def had(name: str) -> torch.Tensor:
            tensor, part = read(name, dtype), self._infos[name].part
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

    def _choose_shared(self, read: ReadAs, dtype: torch.dtype) -> dict[str, torch.Tensor]:
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
            layer = self._read(wired, read, dtype)
            inverse = 1 / scales[into.group].square() if into and into.group in scales else None
            if is_writer:
                norms = _row_norms(
                    layer["weight"], None if inverse is None else _spread(inverse, layer["weight"])
                )
                biases = layer["bias"].double().square() if "bias" in layer else 0
                scales[out] = to_unit((norms + biases).sqrt())
            if is_reader:
                assert into is not None
                norms = _column_norms(
                    layer["weight"], into.block, scales[out].square() if out in scales else None
                )
                chosen[into.group] = self._choose(into.group, norms if inverse is None else norms * inverse)
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
    bound = min(LARGE_LAYER, LARGEST_NETWORK // max(1, len(wiring.layers)))
    large = {
        over.group for wired in wiring.layers if _values(wired, sizes) > bound for _, over in _axes(wired)
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


def _row_norms(weight: torch.Tensor, columns: torch.Tensor | None = None) -> torch.Tensor:
    """Squared norms (out,) of the rows in float64; ``columns`` are factors of the squares in each column."""
    rows = _matrix(weight)
    factors = torch.ones(rows.shape[1], dtype=torch.float64) if columns is None else columns
    return torch.cat([square @ factors for square in _squares(rows)])


def _column_norms(weight: torch.Tensor, block: int, rows: torch.Tensor | None = None) -> torch.Tensor:
    """Squared norms in float64 of the neurons that own ``block`` columns each; ``rows`` are factors of the squares in
    each row."""
    matrix = _matrix(weight)
    factors = torch.ones(len(matrix), dtype=torch.float64) if rows is None else rows
    sums = torch.zeros(matrix.shape[1], dtype=torch.float64)
    for part, square in zip(factors.split(_height(matrix)), _squares(matrix), strict=True):
        sums += part @ square
    return sums.view(weight.shape[1] // block, -1).sum(1)


def _squares(rows: torch.Tensor) -> Iterator[torch.Tensor]:
    """The squares in float64, of so few rows at a time that they stay in the processor's cache."""
    return (chunk.double().square() for chunk in rows.split(_height(rows)))


def _height(rows: torch.Tensor) -> int:
    return max(1, _CHUNK // rows.shape[1])


def _matrix(weight: torch.Tensor) -> torch.Tensor:
    return weight.flatten(1) if weight.dim() > 1 else weight[:, None]


def _spread(neurons: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """A value of each neuron for every column of the flattened weight that it owns."""
    return neurons.repeat_interleave(_matrix(weight).shape[1] // len(neurons))


def _taken(layer: Tensors, axis: int, index: torch.Tensor) -> Tensors:
    return {
        role: tensor.index_select(axis, index)
        if axis < tensor.dim() and (axis == 0 or role == "weight")
        else tensor
        for role, tensor in layer.items()
    }

"""Layers that have more units in one network than in the other: the smaller one's are filled up with units of zeros."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch

from peace_pipeline.symmetry.group.elements import Tensors
from peace_pipeline.symmetry.wiring.symmetries import PERMUTE
from peace_pipeline.symmetry.wiring.types import Axis, WiredLayer, Wiring

Shape = tuple[int, ...]
_MOST = 1 << 14
"""Units that are matched where no symmetry allows it."""


@dataclass(frozen=True)
class Grown:
    """``shapes`` are those that tensors of each network are filled up to; ``common`` is how many entries of a group
    both networks have, ``is_hidden`` whether any of these are hidden units."""

    shapes: tuple[Mapping[str, Shape], Mapping[str, Shape]] = field(default=({}, {}))
    common: Mapping[str, int] = field(default_factory=dict)
    is_hidden: bool = False

    def __bool__(self) -> bool:
        return bool(self.common)

    @property
    def swapped(self) -> Grown:
        """The same where the networks change places."""
        return replace(self, shapes=self.shapes[::-1])

    @property
    def is_first_smaller(self) -> bool:
        """Whether more of the first network's tensors are filled up than of the second's."""
        return len(self.shapes[0]) > len(self.shapes[1])

    def filled(self, side: int, name: str, values: torch.Tensor) -> torch.Tensor:
        """A tensor of one network with zeros behind its values."""
        shape = self.shapes[side].get(name)
        if shape is None:
            return values
        whole = values.new_zeros(shape)
        whole[tuple(map(slice, values.shape))] = values
        return whole

    def kept(self, wired: WiredLayer, tensors: Tensors) -> Tensors:
        """Of a folded layer's tensors the part that both networks have."""
        if not self.common:
            return tensors
        found = dict(tensors)
        for axis in wired.axes:
            count = self.common.get(axis.group)
            if count is not None:
                found["weight"] = found["weight"].narrow(axis.dim, 0, count * axis.block)
                if axis is wired.out and "bias" in found:
                    found["bias"] = found["bias"][:count]
        return found


def grown(
    wiring: Wiring, names: Mapping[str, str], shapes: tuple[Mapping[str, Shape], Mapping[str, Shape]]
) -> tuple[Wiring, Grown]:
    """A part of a wiring in which groups have as many units as the larger network's, without the layers for which that
    is not possible; ``names`` are the tensors' counterparts, ``shapes`` those of both networks."""
    pairs = {
        name: (shapes[0][name], shapes[1][names[name]])
        for wired in wiring.layers
        for layer in wired.every
        for name in layer.tensors.values()
    }
    if all(first == second for first, second in pairs.values()):
        return wiring, Grown()
    larger = {name: tuple(map(max, *both)) for name, both in pairs.items()}
    sizes, common = _sizes(wiring, pairs, larger)
    layers = tuple(
        replace(wired, layer=replace(wired.layer, shape=larger[wired.weight]))
        for wired in wiring.layers
        if _fits(wiring, wired, larger, sizes)
    )
    groups = {
        name: replace(group, size=sizes[name] // group.width) if name in sizes else group
        for name, group in wiring.groups.items()
    }
    for order in {wiring.order(name) for name in sizes if is_hidden(wiring, name)}:
        groups[order] = replace(groups[order], actions=tuple({*groups[order].actions, PERMUTE}))
    kept = {name for wired in layers for layer in wired.every for name in layer.tensors.values()}
    filled: tuple[dict[str, Shape], dict[str, Shape]] = ({}, {})
    for name in kept:
        for own, target, shape in zip((name, names[name]), filled, pairs[name], strict=True):
            if shape != larger[name]:
                target[own] = larger[name]
    return replace(wiring, layers=layers, groups=groups), Grown(
        filled, common, any(is_hidden(wiring, name) for name in common)
    )


def is_hidden(wiring: Wiring, group: str) -> bool:
    """Whether something writes a group's units and something reads them: those that were taken away may have stood
    anywhere, whatever symmetry there is. The tokens of an embedding are none, nor are more units than can be matched.
    """
    order = wiring.order(group)
    names = [order, *(each.name for each in wiring.dependents(order))]
    writers, readers = (
        [layer for name in names for layer in of(name)] for of in (wiring.writers, wiring.readers)
    )
    has_tokens = any(layer.layer.kind == "embedding" for layer in readers)
    return bool(writers and readers) and not has_tokens and wiring.groups[group].size <= _MOST


def _sizes(
    wiring: Wiring, pairs: Mapping[str, tuple[Shape, Shape]], larger: Mapping[str, Shape]
) -> tuple[dict[str, int], dict[str, int]]:
    """Entries of the groups that are larger in one network, and how many both have; without those on which layers
    disagree, or which are made of parts."""
    found: defaultdict[str, set[tuple[int, int]]] = defaultdict(set)
    for wired in wiring.layers:
        name = wired.weight
        for axis in wired.axes:
            both = [_entries(wiring, axis, shape[axis.dim]) for shape in pairs[name]]
            if both[0] != both[1]:
                found[axis.group].add((max(both), min(both)))
    sizes, common = {}, {}
    for name, counts in found.items():
        group, (size, least) = wiring.groups[name], next(iter(counts))
        if len(counts) == 1 and not (
            group.parts or group.bundle > 1 or size % group.width or least % group.width
        ):
            order = wiring.order(name)
            moving = [name, order, *wiring.above(name), *(each.name for each in wiring.dependents(order))]
            for other in moving:
                if wiring.groups[other].size == group.size:
                    sizes[other] = size // group.width * wiring.groups[other].width
                    common[other] = least // group.width * wiring.groups[other].width
    return sizes, common


def _entries(wiring: Wiring, axis: Axis, length: int) -> int:
    return length // axis.block * (wiring.groups[axis.group].bundle if axis.bundled else 1)


def _fits(wiring: Wiring, wired: WiredLayer, larger: Mapping[str, Shape], sizes: Mapping[str, int]) -> bool:
    return all(
        _entries(wiring, axis, larger[wired.weight][axis.dim])
        == sizes.get(axis.group, wiring.groups[axis.group].entries)
        for axis in wired.axes
    )

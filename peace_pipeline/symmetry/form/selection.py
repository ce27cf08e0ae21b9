"""Keeping some neurons of a group, the same in every layer that runs over it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch

from peace_pipeline.symmetry.group.actions import entries, take
from peace_pipeline.symmetry.group.elements import Tensors
from peace_pipeline.symmetry.wiring.symmetries import (
    FLIP,
    FREE,
    LINEAR,
    MIX,
    NORMALISED,
    ORTHOGONAL,
    PERMUTE,
    ROTATE,
    SCALE,
    SHIFT,
)
from peace_pipeline.symmetry.wiring.types import Axis, Group, WiredLayer, Wiring

_BY_MAPS = frozenset({FLIP, MIX, ROTATE, LINEAR, NORMALISED})
_OF_WHOLE_GROUPS = _BY_MAPS | {ORTHOGONAL, SHIFT, FREE}


def needs_all_neurons(wiring: Wiring, name: str) -> bool:
    """Whether the canonical form of a group needs all of its neurons at once, and layers on both sides of it: where
    maps or flips are free of its neurons (which those of heads of one entry are too), or scales beside those that they
    have as parts of others or in units along them."""
    group, own = wiring.groups[name], wiring.root(name)
    along = [other for other in wiring.dependents(name) if wiring.root(other.name) == own]
    if group.width > 1 or any(not _BY_MAPS.isdisjoint(other.actions) for other in (group, *along)):
        return True
    is_scaled_beside = bool(wiring.wholes(name)) or any(SCALE in other.actions for other in along)
    return SCALE in group.actions and is_scaled_beside


def canonical_norms(wiring: Wiring, tensors: Mapping[str, torch.Tensor], name: str) -> torch.Tensor:
    """Norms (batch, neurons) of a group's neurons in canonical form: in the first matrix that reads them, and in the
    one that writes them where it hasn't unit norms there."""
    touching = wiring.axes(name, along=True)
    reading = next((pair for pair in touching if pair[1].dim), None)
    writing = next((pair for pair in touching if not pair[1].dim), None)
    if reading and SCALE in wiring.groups[name].actions:
        writing = None
    squares = [_squares(wiring, tensors, name, *pair) for pair in (reading, writing) if pair]
    return torch.stack(squares).sum(0).sqrt()


def _squares(
    wiring: Wiring, tensors: Mapping[str, torch.Tensor], name: str, layer: WiredLayer, axis: Axis
) -> torch.Tensor:
    """Squared norms (batch, neurons) of a group's neurons in one weight."""
    weight = tensors[layer.weight].transpose(1, 1 + axis.dim)
    group = wiring.groups[axis.group]
    neurons = group.entries // (group.bundle if axis.bundled else 1)
    squares = weight.unflatten(1, (neurons, -1)).double().square().flatten(2).sum(2)
    if axis.bundled:
        squares = squares.unflatten(1, (-1, group.width)).repeat_interleave(group.bundle, 1).flatten(1)
    start = next(start for leaf, start in wiring.leaves(axis.group) if leaf == name)
    return squares[:, start : start + wiring.groups[name].entries]


def evenly_spaced(count: int, kept: int) -> torch.Tensor:
    """``kept`` evenly spaced of ``count`` positions."""
    return torch.linspace(0, count - 1, kept, dtype=torch.float64).round().long()


def kept_neurons(
    wiring: Wiring, name: str, chosen: Mapping[str, torch.Tensor], size: Callable[[str], int]
) -> torch.Tensor | None:
    """The neurons (batch, n) of a group that are kept where ``chosen`` are kept of the groups that are cut; ``None``
    where all are. ``size`` is the number of neurons of a group that is not joined of others."""
    group = wiring.groups[wiring.root(name)]
    if not group.parts:
        return chosen.get(group.name)
    found = [kept_neurons(wiring, part, chosen, size) for part in group.parts]
    batch = next((len(index) for index in found if index is not None), None)
    if batch is None:
        return None
    start, pieces = 0, []
    for part, index in zip(group.parts, found, strict=True):
        count = size(wiring.root(part))
        pieces.append(start + (torch.arange(count).expand(batch, -1) if index is None else index))
        start += count
    return torch.cat(pieces, 1)


def positions(index: torch.Tensor, over: Axis, group: Group) -> torch.Tensor:
    """Neurons (batch, n) of a group → the positions that they own on an axis over it."""
    if over.bundled:
        unit, place = index // group.width, index % group.width
        index = unit // group.bundle * group.width + place
    return entries(index, over.block)


def cut_group(
    wiring: Wiring, tensors: Mapping[str, torch.Tensor], name: str, index: torch.Tensor
) -> tuple[Wiring, Tensors]:
    """A folded wiring and tensors (batch, *shape) with only the neurons ``index`` (batch, n) of a group."""
    kept = dict(tensors)

    def size(part: str) -> int:
        return wiring.groups[part].entries

    for wired in wiring.layers:
        for role, tensor in wired.layer.tensors.items():
            for axis in dict.fromkeys(wired.axes if role == "weight" else (wired.out,)):
                if axis is wired.into and wired.is_diagonal:
                    continue
                own = kept_neurons(wiring, axis.group, {name: index}, size)
                if own is not None:
                    where = positions(own, axis, wiring.groups[axis.group])
                    kept[tensor] = take(kept[tensor], 1 + (axis.dim if role == "weight" else 0), where)
    return resized(wiring, {name: index.shape[1]}), kept


def resized(wiring: Wiring, kept: Mapping[str, int]) -> Wiring:
    """A wiring of which ``kept`` neurons of some groups are left. Units of heads that are cut are single neurons."""
    groups: dict[str, Group] = {}

    def resize(name: str) -> Group:
        if name not in groups:
            groups[name] = _resized(wiring, name, kept, resize)
        return groups[name]

    for name in wiring.groups:
        resize(name)
    ordered = {name: groups[name] for name in wiring.groups}
    layers = tuple(_resized_layer(wiring, layer, ordered) for layer in wiring.layers)
    return replace(wiring, groups=ordered, layers=layers)


def _resized(wiring: Wiring, name: str, kept: Mapping[str, int], resize: Callable[[str], Group]) -> Group:
    group, own = wiring.groups[name], wiring.root(name)
    if wiring.groups[own].parts:
        size = sum(resize(part).entries for part in wiring.groups[own].parts)
        return group if size == group.size else replace(group, size=size, whole=group.full_size)
    if own not in kept or kept[own] == group.entries:
        return group
    actions = tuple(action for action in group.actions if action not in _OF_WHOLE_GROUPS)
    if group.width > 1:
        actions = (PERMUTE,)
    return replace(
        group,
        size=kept[own],
        whole=group.full_size,
        actions=actions,
        width=1,
        bundle=1,
        rotary=0,
        along=None if own == name else group.along,
    )


def _resized_layer(wiring: Wiring, wired: WiredLayer, groups: Mapping[str, Group]) -> WiredLayer:
    shape = list(wired.layer.shape)

    def fitted(axis: Axis) -> Axis:
        before, after = wiring.groups[axis.group], groups[axis.group]
        if before == after:
            return axis
        shape[axis.dim] = after.entries * axis.block // (after.bundle if axis.bundled else 1)
        return replace(axis, bundled=axis.bundled and after.bundle > 1)

    out, into = fitted(wired.out), wired.into and fitted(wired.into)
    return replace(wired, layer=replace(wired.layer, shape=tuple(shape)), out=out, into=into)

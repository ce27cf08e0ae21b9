"""Buckets: networks of one wiring stacked into one tensor a parameter, ready for the encoder."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from peace_pipeline.symmetry.form.canonical import canonical
from peace_pipeline.symmetry.form.selection import canonical_norms, cut_group, evenly_spaced, positions, root
from peace_pipeline.symmetry.group.actions import take
from peace_pipeline.symmetry.group.elements import Tensors
from peace_pipeline.symmetry.wiring.types import FIXED, Axis, Group, Wiring

MAX_UNITS = 256


@dataclass(frozen=True)
class Bucket:
    """``tensors`` (name → (batch, *shape)) of ``keys`` (what the networks are called), under a folded wiring.

    ``sizes`` is group → number of neurons before large groups were reduced.
    """

    wiring: Wiring
    keys: tuple[str, ...]
    tensors: Tensors
    sizes: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.keys)

    def select(self, index: Sequence[int]) -> Bucket:
        """The networks at these positions."""
        rows = torch.as_tensor(index, dtype=torch.long)
        tensors = {name: tensor[rows] for name, tensor in self.tensors.items()}
        return replace(self, keys=tuple(self.keys[i] for i in index), tensors=tensors)

    def with_tensors(self, tensors: Tensors) -> Bucket:
        """The same networks with other tensors."""
        return replace(self, tensors=tensors)

    def to(self, where: torch.device | torch.dtype) -> Bucket:
        """The bucket on another device or of another dtype."""
        return self.with_tensors({name: tensor.to(where) for name, tensor in self.tensors.items()})


def stack(
    networks: Iterable[tuple[str, Wiring, Mapping[str, torch.Tensor]]],
    *,
    to_canonical: bool = True,
    shared_nodes: bool = True,
) -> list[Bucket]:
    """Stack networks (key, wiring, folded tensors without a batch dimension) of equal signature.

    The canonical form is taken and groups of more than ``MAX_UNITS`` neurons are reduced. Without
    ``shared_nodes`` each layer gets neurons of its own.
    """
    groups: dict[str, list[tuple[str, Wiring, Mapping[str, torch.Tensor]]]] = defaultdict(list)
    for network in networks:
        groups[network[1].signature].append(network)
    buckets = []
    for members in groups.values():
        wiring = members[0][1].folded
        names = [name for layer in wiring.layers for name in layer.layer.tensors.values()]
        tensors = {name: torch.stack([tensors[name] for _, _, tensors in members]) for name in names}
        if to_canonical:
            tensors = canonical(wiring, tensors)
        bucket = reduce(wiring, tuple(key for key, _, _ in members), tensors)
        buckets.append(bucket if shared_nodes else separate(bucket))
    return buckets


def separate(bucket: Bucket) -> Bucket:
    """The same tensors with no neuron shared between two layers."""
    groups: dict[str, Group] = {}
    sizes: dict[str, int] = {}

    def own(axis: Axis, name: str) -> Axis:
        groups[name] = replace(bucket.wiring.groups[axis.group], name=name, along=None, parts=())
        sizes[name] = bucket.sizes[axis.group]
        return replace(axis, group=name)

    layers = tuple(
        replace(
            wired,
            out=own(wired.out, f"{position}.out"),
            into=own(wired.into, f"{position}.into") if wired.into else None,
        )
        for position, wired in enumerate(bucket.wiring.layers)
    )
    return replace(bucket, wiring=replace(bucket.wiring, groups=groups, layers=layers), sizes=sizes)


def reduce(wiring: Wiring, keys: tuple[str, ...], tensors: Tensors) -> Bucket:
    """Keep at most ``MAX_UNITS`` neurons of each group: those at evenly spaced ranks of norm.

    The norm is that of a unit's weights out, which the canonical form leaves distinct (it sets the norm in to 1),
    else of its weights in.
    Neurons of fixed groups are told apart by position, so evenly spaced positions are kept instead.
    """
    sizes = {group.name: group.full_size for group in wiring.groups.values()}
    large = [group for group in wiring.groups.values() if group.entries > MAX_UNITS and not group.parts]
    for group in large:
        if root(wiring, group.name) == group.name:
            wiring, tensors = cut_group(wiring, tensors, group.name, _ranked(wiring, tensors, group))
    return Bucket(*unbundled(wiring, keys, tensors), sizes)


def _ranked(wiring: Wiring, tensors: Tensors, group: Group) -> torch.Tensor:
    """Indices (batch, ``MAX_UNITS``) of the neurons to keep."""
    index = evenly_spaced(group.entries, MAX_UNITS)
    batch = next(iter(tensors.values())).shape[0]
    if group.kind == FIXED:
        return index.expand(batch, -1)
    return canonical_norms(wiring, tensors, group.name).argsort(1)[:, index]


def unbundled(
    wiring: Wiring, keys: tuple[str, ...], tensors: Tensors
) -> tuple[Wiring, tuple[str, ...], Tensors]:
    """The same with the rows that the heads of a bundle share repeated for each of them."""
    repeated, layers = dict(tensors), []
    for wired in wiring.layers:
        if wired.out.bundled:
            group = wiring.groups[wired.out.group]
            index = positions(torch.arange(group.entries)[None], wired.out, group)
            for name in wired.layer.tensors.values():
                repeated[name] = take(tensors[name], 1, index)
            layer = replace(wired.layer, shape=(index.shape[1], *wired.layer.shape[1:]))
            wired = replace(wired, layer=layer, out=replace(wired.out, bundled=False))
        layers.append(wired)
    return replace(wiring, layers=tuple(layers)), keys, repeated

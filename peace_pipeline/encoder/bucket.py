"""Buckets: networks of one wiring stacked into one tensor a parameter, ready for the encoder."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from peace_pipeline.symmetry.actions import Tensors, entries, take
from peace_pipeline.symmetry.canonical import canonical
from peace_pipeline.symmetry.wiring import FIXED, Axis, Group, WiredLayer, Wiring

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

    The scale-canonical form is taken and groups of more than ``MAX_UNITS`` neurons are reduced. Without
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
        groups[name] = replace(bucket.wiring.groups[axis.group], name=name)
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
    for group in wiring.groups.values():
        if group.size > MAX_UNITS:
            wiring, tensors = _keep(wiring, tensors, group.name, _ranked(wiring, tensors, group.name))
    return Bucket(wiring, keys, tensors, sizes)


def _ranked(wiring: Wiring, tensors: Tensors, name: str) -> torch.Tensor:
    """Indices (batch, ``MAX_UNITS``) of the neurons to keep."""
    group = wiring.groups[name]
    spaced = torch.linspace(0, group.size - 1, MAX_UNITS, dtype=torch.float64).round().long()
    batch = next(iter(tensors.values())).shape[0]
    if group.kind == FIXED:
        return spaced.expand(batch, -1)
    readers = wiring.readers(name)
    weight = tensors[(readers or wiring.writers(name))[0].layer.tensors["weight"]]
    if readers:
        weight = weight.transpose(1, 2).unflatten(1, (group.size, -1))
    norm = weight.double().flatten(2).norm(dim=2) if weight.dim() > 2 else weight
    return norm.argsort(1)[:, spaced]


def _keep(wiring: Wiring, tensors: Tensors, name: str, index: torch.Tensor) -> tuple[Wiring, Tensors]:
    kept = dict(tensors)
    layers: list[WiredLayer] = []
    count = index.shape[1]
    for wired in wiring.layers:
        shape = list(wired.layer.shape)
        if wired.out.group == name:
            shape[0] = count
            for tensor in wired.layer.tensors.values():
                kept[tensor] = take(kept[tensor], 1, index)
        if wired.into and wired.into.group == name:
            shape[1] = count * wired.into.block
            weight = wired.layer.tensors["weight"]
            kept[weight] = take(kept[weight], 2, entries(index, wired.into.block))
        layers.append(replace(wired, layer=replace(wired.layer, shape=tuple(shape))))
    groups = wiring.groups | {name: replace(wiring.groups[name], size=count)}
    return replace(wiring, groups=groups, layers=tuple(layers)), kept

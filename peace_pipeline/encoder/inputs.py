"""What the encoder is given of a stack of networks: their canonical form, and of large groups some neurons."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from peace_pipeline.symmetry.form.canonical import canonical
from peace_pipeline.symmetry.form.selection import canonical_norms, cut_group, evenly_spaced, positions
from peace_pipeline.symmetry.group.actions import take
from peace_pipeline.symmetry.network import Stack
from peace_pipeline.symmetry.wiring.types import FIXED, Axis, Group

if TYPE_CHECKING:
    from peace_pipeline.encoder.config import EncoderConfig

MOST_UNITS = 256
_FEWEST_UNITS = 16


def encoder_input(stack: Stack, config: EncoderConfig, most_units: int = MOST_UNITS) -> Stack:
    """Folded networks as an encoder of this configuration takes them: in canonical form, with at most ``most_units``
    neurons of each group, the rows that heads share repeated for each of them, and neurons that layers share (or
    not)."""
    if config.canonical:
        stack = stack.with_tensors(canonical(stack.wiring, stack.tensors))
    stack = unbundled(reduced(stack, most_units))
    return stack if config.shared_nodes else separate(stack)


def within(stack: Stack, config: EncoderConfig, values: int) -> Stack:
    """Folded networks as an encoder takes them, of at most so many ``values`` each as far as fewer neurons of each
    group make them smaller."""
    most_units = MOST_UNITS
    while True:
        taken = encoder_input(stack, config, most_units)
        size = sum(tensor[0].numel() for tensor in taken.tensors.values())
        if size <= values or most_units <= _FEWEST_UNITS:
            return taken
        most_units //= 2


def reduced(stack: Stack, most_units: int) -> Stack:
    """At most ``most_units`` neurons of each group: those at evenly spaced ranks of norm.

    The norm is that of a unit's weights out, which the canonical form leaves distinct (it sets the norm in to 1),
    else of its weights in.
    Neurons of fixed groups are told apart by position, so evenly spaced positions are kept instead.
    """
    groups = stack.wiring.groups.values()
    for group in [group for group in groups if group.entries > most_units and not group.parts]:
        if stack.wiring.root(group.name) == group.name:
            kept = _ranked(stack, group, most_units)
            wiring, tensors = cut_group(stack.wiring, stack.tensors, group.name, kept)
            stack = Stack(stack.keys, wiring, tensors)
    return stack


def _ranked(stack: Stack, group: Group, count: int) -> torch.Tensor:
    """Indices (batch, ``count``) of the neurons to keep."""
    index = evenly_spaced(group.entries, count)
    if group.kind == FIXED:
        return index.expand(len(stack), -1)
    return canonical_norms(stack.wiring, stack.tensors, group.name).argsort(1)[:, index]


def unbundled(stack: Stack) -> Stack:
    """The same with the rows that the heads of a bundle share repeated for each of them."""
    repeated, layers = dict(stack.tensors), []
    for wired in stack.wiring.layers:
        if wired.out.bundled:
            group = stack.wiring.groups[wired.out.group]
            index = positions(torch.arange(group.entries)[None], wired.out, group)
            for name in wired.layer.tensors.values():
                repeated[name] = take(repeated[name], 1, index)
            layer = replace(wired.layer, shape=(index.shape[1], *wired.layer.shape[1:]))
            wired = replace(wired, layer=layer, out=replace(wired.out, bundled=False))
        layers.append(wired)
    return Stack(stack.keys, replace(stack.wiring, layers=tuple(layers)), repeated)


def separate(stack: Stack) -> Stack:
    """The same tensors with no neuron shared between two layers."""
    groups: dict[str, Group] = {}

    def own(axis: Axis, name: str) -> Axis:
        groups[name] = replace(stack.wiring.groups[axis.group], name=name, along=None, parts=())
        return replace(axis, group=name)

    layers = tuple(
        replace(
            wired,
            out=own(wired.out, f"{position}.out"),
            into=own(wired.into, f"{position}.into") if wired.into else None,
        )
        for position, wired in enumerate(stack.wiring.layers)
    )
    return replace(stack, wiring=replace(stack.wiring, groups=groups, layers=layers))

"""The wiring of a whole of several networks: theirs, side by side, as nothing is known of how they are coupled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from peace_pipeline.symmetry.wiring.types import PARTS, Axis, Group, WiredLayer, Wiring
from peace_pipeline.weights.layers import Layer


def joined(wirings: Mapping[str, Wiring]) -> Wiring:
    """The wirings of networks, given by what stands before their names, as one: method and family are those of all
    where they agree, else the method is ``parts``."""
    found = [*wirings.values()]
    methods, families = {one.method for one in found}, {one.family for one in found}
    groups = [_group(group, prefix) for prefix, one in wirings.items() for group in one.groups.values()]
    return Wiring(
        methods.pop() if len(methods) == 1 and len(families) == 1 else PARTS,
        {group.name: group for group in groups},
        tuple(_wired(layer, prefix) for prefix, one in wirings.items() for layer in one.layers),
        families.pop() if len(families) == 1 else None,
        tuple(dict.fromkeys(assumed for one in found for assumed in one.assumes)),
        tuple(
            f"{prefix[:-1]}: {note}" if prefix else note
            for prefix, one in wirings.items()
            for note in one.notes
        ),
    )


def _group(group: Group, prefix: str) -> Group:
    return replace(
        group,
        name=prefix + group.name,
        along=group.along and prefix + group.along,
        parts=tuple(prefix + part for part in group.parts),
    )


def _wired(wired: WiredLayer, prefix: str) -> WiredLayer:
    def axis(one: Axis) -> Axis:
        return replace(one, group=prefix + one.group)

    def layer(one: Layer) -> Layer:
        tensors = {role: prefix + name for role, name in one.tensors.items()}
        return replace(one, name=prefix + one.name, tensors=tensors)

    return replace(
        wired,
        layer=layer(wired.layer),
        out=axis(wired.out),
        into=wired.into and axis(wired.into),
        norm=wired.norm and layer(wired.norm),
        before=wired.before and layer(wired.before),
    )

"""From links between layers and groups by name to a wiring that fits the layers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from peace_pipeline.symmetry.wiring.symmetries import FLIP, GAIN, LINEAR, ORTHOGONAL, SCALE, SHIFT, SIGN
from peace_pipeline.symmetry.wiring.types import (
    FIXED,
    PERMUTABLE,
    Axis,
    Group,
    WiredLayer,
    Wiring,
    WiringMismatch,
)
from peace_pipeline.weights.layers import Layer

Declared = Callable[[str], Group]
"""Name of a group → the group, of size 0 where that follows from the layers."""

_OF_WHOLE_STREAMS = (LINEAR, ORTHOGONAL)


@dataclass(frozen=True)
class Link:
    """A layer by name, with its axes, the norm that follows it and the norm before it."""

    layer: str
    out: Axis
    into: Axis | None = None
    norm: str | None = None
    before: str | None = None


def linked(
    links: Iterable[Link],
    layers: Mapping[str, Layer],
    declared: Declared,
    method: str,
    family: str | None,
    eps: float,
    assumes: tuple[str, ...] = (),
) -> Wiring:
    """The wiring in which ``layers`` stand as in ``links``, their groups as they are ``declared``; ``eps`` is that of
    norms whose file gives none.

    Groups that no layer writes (inputs) or none reads (outputs) are fixed. Actions that a group's layers don't allow
    are left out.

    Raises:
        WiringMismatch: where a layer is missing, left over, or its shape doesn't fit its groups.
    """
    used: set[str] = set()
    wired = [_linked(link, layers, eps, used) for link in links]
    if left := layers.keys() - used:
        raise WiringMismatch(f"not in the table: {', '.join(sorted(left)[:4])}")
    groups = _sized(wired, declared) | {
        layer.norm.name: Group(
            layer.norm.name, layer.norm.shape[0], PERMUTABLE, (GAIN,), along=layer.out.group
        )
        for layer in wired
        if layer.norm and "gain" in layer.norm.tensors
    }
    with_blocks = tuple(_with_blocks(layer, groups, may_flatten=family is None) for layer in wired)
    found = Wiring(method, groups, with_blocks, family, assumes)
    return replace(found, groups={name: allowed(found, group) for name, group in groups.items()})


def named(layers: Mapping[str, Layer], name: str) -> Layer:
    """The layer of a name.

    Raises:
        WiringMismatch: where there is none.
    """
    if name not in layers:
        raise WiringMismatch(f"layer {name} is missing")
    return layers[name]


def _linked(link: Link, layers: Mapping[str, Layer], eps: float, used: set[str]) -> WiredLayer:
    layer = named(layers, link.layer)
    norm = named(layers, link.norm) if link.norm else None
    before = named(layers, link.before) if link.before else None
    for own in filter(None, (layer, norm)):
        if own.name in used:
            raise WiringMismatch(f"layer {own.name} is used twice")
        used.add(own.name)
    if before:
        if not before.is_norm or "gain" not in before.tensors:
            raise WiringMismatch(f"{before.name} is no norm with a gain")
        used.add(before.name)
    if any(axis.dim >= len(layer.shape) for axis in (link.out, link.into) if axis):
        raise WiringMismatch(f"layer {layer.name} has no input axis")
    if norm and not (norm.is_norm and norm.shape == (layer.shape[link.out.dim],)):
        raise WiringMismatch(f"{norm.name} is no norm over the channels of {layer.name}")
    folded = norm or (layer if layer.is_norm and link.into else None)
    if folded and "shift" in folded.tensors and not {"mean", "var"} <= folded.tensors.keys():
        raise WiringMismatch(f"{folded.name} is no BatchNorm")
    given = (norm or layer).eps
    return WiredLayer(layer, link.out, link.into, norm, before, eps if given is None else given)


def _sized(wired: Sequence[WiredLayer], declared: Declared) -> dict[str, Group]:
    """Every group that is used, with the size that its first writer (else its first reader) gives."""
    groups: dict[str, Group] = {}
    outs, ins = [layer.out for layer in wired], [layer.into for layer in wired]
    for layers_axis in (outs, ins):
        for layer, axis in zip(wired, layers_axis, strict=True):
            if axis and axis.group not in groups:
                _add(groups, axis, layer.layer.shape[axis.dim], layer, declared)
    in_order = dict.fromkeys(axis.group for layer in wired for axis in reversed(layer.axes))
    return {name: groups[name] for name in dict.fromkeys([*in_order, *groups])}


def _add(groups: dict[str, Group], axis: Axis, length: int, layer: WiredLayer, declared: Declared) -> None:
    """Add the group of an axis of some length, and the groups that it rests on."""
    group = declared(axis.group)
    if not group.width:
        raise WiringMismatch(f"{group.name} has more units than entries")
    units = length // group.width * (group.bundle if axis.bundled else 1)
    for other in group.bases:
        base = declared(other)
        if other in groups:
            continue
        if base.parts or base.size:
            _add(groups, Axis(other), base.size, layer, declared)
        elif other == group.along:
            groups[other] = replace(base, size=group.size or units)
        else:
            raise WiringMismatch(f"{layer.layer.name} runs over {other}, which nothing writes")
    if group.parts:
        units = sum(groups[part].entries for part in group.parts)
    elif group.along and not group.size:
        units = groups[group.along].size
    groups[group.name] = group if group.size else replace(group, size=units)


def _with_blocks(wired: WiredLayer, groups: Mapping[str, Group], *, may_flatten: bool) -> WiredLayer:
    """The layer with the number of positions that each entry of its groups owns: more than one where channels were
    flattened with their places. No family does that: there such a width is something else (two kinds of pooling)."""
    shape = wired.layer.shape

    def fitted(axis: Axis, may_repeat: bool) -> Axis:
        group = groups[axis.group]
        entries = group.entries // (group.bundle if axis.bundled else 1)
        length = shape[axis.dim]
        if not entries or length % entries or (length != entries and not may_repeat):
            raise WiringMismatch(f"{wired.layer.name} doesn't have the size of {axis.group}")
        return replace(axis, block=length // entries)

    if wired.before and wired.into and wired.before.shape != (groups[wired.into.group].entries,):
        raise WiringMismatch(f"{wired.before.name} doesn't have the size of what it norms")
    may_repeat = may_flatten and len(shape) == 2 and not wired.is_diagonal
    into = wired.into and fitted(wired.into, may_repeat)
    return replace(wired, out=fitted(wired.out, False), into=into)


def allowed(wiring: Wiring, group: Group) -> Group:
    """The group with the actions that its layers allow."""
    touching = wiring.touching(group.name)
    writers, readers = wiring.writers(group.name), wiring.readers(group.name)
    is_hidden = bool(writers) and any(
        wiring.readers(name)
        for name in (group.name, *(other.name for other in wiring.dependents(group.name)))
    )
    if group.parts:
        is_fixed = all(wiring.groups[part].kind == FIXED for part in group.parts)
        return replace(group, kind=FIXED if is_fixed else PERMUTABLE)
    if group.kind == PERMUTABLE and touching and not group.along and not is_hidden:
        return replace(group, kind=FIXED, actions=())
    without: set[str] = set()
    if any(axis.charge == 0 or layer.is_diagonal for layer, axis in touching) or wiring.wholes(group.name):
        without |= {*_OF_WHOLE_STREAMS}
    if any(layer.norm and not {"gain", "shift"} <= layer.norm.tensors.keys() for layer in writers):
        without |= {SCALE, SIGN, FLIP, *_OF_WHOLE_STREAMS}
    gives = [layer.before or layer.layer for layer in readers if layer.before] or [
        layer.layer for layer in writers
    ]
    if not (
        any({"bias", "shift"} & layer.tensors.keys() for layer in gives)
        and all("bias" in layer.layer.tensors for layer in readers)
    ):
        without |= {SHIFT}
    if not all("bias" in layer.layer.tensors and _is_pointwise(layer) for layer in readers):
        without |= {FLIP}
    return replace(group, actions=tuple(action for action in group.actions if action not in without))


def _is_pointwise(wired: WiredLayer) -> bool:
    """Whether a layer reads one position at a time: a padding of zeros would not be flipped."""
    return all(size == 1 for size in wired.layer.shape[2:])

"""What a family's table wires a network with: layers by name, and the groups between them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate
from string import digits
from typing import Any

from peace_pipeline.symmetry.wiring.symmetries import (
    FLIP,
    FREE,
    GAIN,
    LINEAR,
    MIX,
    NORMALISED,
    ORTHOGONAL,
    PERMUTE,
    ROTATE,
    SCALE,
    SHIFT,
    SIGN,
)
from peace_pipeline.symmetry.wiring.types import (
    EPSILON,
    FIXED,
    PERMUTABLE,
    Axis,
    Group,
    WiredLayer,
    Wiring,
    WiringMismatch,
)
from peace_pipeline.weights.layers import Layer
from peace_pipeline.zoo.record import natural

HOMOGENEOUS = frozenset({"relu", "leaky_relu", "leakyrelu"})
ODD = frozenset({"tanh", "sin", "sine", "softsign", "hardtanh", "tanhshrink"})
SIGMOID = frozenset({"sigmoid", "hard_sigmoid", "hardsigmoid"})
IDENTITY = frozenset({"identity", "linear", "none"})
_ACTIVATION_KEYS = ("hidden_act", "activation_function", "hidden_activation", "activation", "act_fn")
_BY_ACTIVATION = {
    HOMOGENEOUS: (PERMUTE, SCALE),
    ODD: (PERMUTE, SIGN),
    SIGMOID: (PERMUTE, FLIP),
    IDENTITY: (PERMUTE, SCALE, SIGN, LINEAR),
}
_OF_WHOLE_STREAMS = (LINEAR, ORTHOGONAL)
NOT_POOLED = (SIGN, FLIP, LINEAR)
"""What max-pooling doesn't commute with."""


def activation(config: Mapping[str, Any], *keys: str) -> str | None:
    """The hidden activation that a config.json names (under ``keys``, else the usual ones), in lower case."""
    names = (config.get(key) for key in keys or _ACTIVATION_KEYS)
    return next((name.lower() for name in names if isinstance(name, str)), None)


def number(config: Mapping[str, Any], *keys: str) -> int:
    """The first of a config's ``keys`` that is a positive number.

    Raises:
        WiringMismatch: where none is.
    """
    for key in keys:
        value = config.get(key)
        if type(value) is int and 0 < value < 2**31:
            return value
    raise WiringMismatch(f"the config gives no {keys[0]}")


def actions_of(activation: str | None) -> tuple[str, ...]:
    """The symmetries of hidden units with this activation; permutations alone where it is not known."""
    found = (actions for names, actions in _BY_ACTIVATION.items() if activation in names)
    return next(found, (PERMUTE,))


@dataclass(frozen=True)
class Link:
    """A layer by name, with its axes, the norm that follows it and the norm before it."""

    layer: str
    out: Axis
    into: Axis | None = None
    norm: str | None = None
    before: str | None = None


class WiringBuilder:
    """Wires one network. Groups are named by the layers that write them, or as the table likes.

    Where a name is asked for that the checkpoint doesn't have, or a layer is never wired, :meth:`wiring` refuses.
    """

    def __init__(self, layers: Iterable[Layer], config: Mapping[str, Any]) -> None:
        self.layers = {layer.name: layer for layer in layers}
        self.config = config
        self.eps = EPSILON
        """Of norms whose file doesn't give it."""
        self._links: list[Link] = []
        self._groups: dict[str, Group] = {}
        self._norms: dict[str, str] = {}

    def __contains__(self, name: str) -> bool:
        return name in self.layers

    def numbered(self, prefix: str) -> list[str]:
        """The different ``{prefix}{number}`` (or ``{prefix}{number}.…``) that layers' names begin with, in order."""
        return sorted(self._numbered.get(prefix, ()), key=natural)

    @cached_property
    def _numbered(self) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for name in self.layers:
            for begun in accumulate(name.split("."), "{}.{}".format):
                if (prefix := begun.rstrip(digits)) != begun:
                    found.setdefault(prefix, set()).add(begun)
        return found

    def prefix(self, name: str) -> str:
        """What stands before ``name`` at the beginning of the first layer's name that has it; else nothing."""
        pattern = re.compile(rf"((?:.*?\.)?){re.escape(name)}(?=\.|$)")
        return next((found[1] for layer in self.layers if (found := pattern.match(layer))), "")

    def number(self, *keys: str) -> int:
        """See :func:`number`."""
        return number(self.config, *keys)

    def rows(self, name: str) -> int:
        """Number of outputs of a layer."""
        return self._named(name).shape[0]

    def group(self, name: str, *actions: str, **properties: Any) -> str:
        """Declare a group; ``properties`` are those of :class:`Group`. Its size follows from the layers."""
        self._groups.setdefault(
            name, Group(name, **{"size": 0, "kind": PERMUTABLE, **properties}, actions=actions)
        )
        return name

    def hidden(self, name: str, activation: str | None, *, without: Iterable[str] = ()) -> str:
        """Declare a group of hidden units with this activation; ``without`` actions that something else forbids."""
        return self.group(name, *(action for action in actions_of(activation) if action not in without))

    def each(self, name: str, activation: str | None, stream: str) -> str:
        """Declare a group of hidden units with this activation, each of which reads its own unit of a stream."""
        kept = (action for action in actions_of(activation) if action != PERMUTE)
        return self.group(name, *kept, along=stream)

    def joined(self, name: str, parts: Iterable[str]) -> str:
        """Declare the concatenation of groups."""
        return self.group(name, parts=tuple(parts))

    def fixed(self, name: str) -> str:
        """Declare a group whose units have places: inputs, outputs, positions. It may be declared before as another:
        a stream turns out to be the network's output."""
        self._groups[name] = Group(name, 0, FIXED)
        return name

    def normed(self, stream: str, norm: str, *, absorbed: bool = True, padded: bool = False) -> str:
        """What a norm of the stream gives. ``absorbed``: only linear layers read it, so its gain may move there;
        ``padded``: beside zeros, so its shift may not."""
        if not absorbed:
            self.vector(norm, Axis(stream, charge=0))
            return stream
        self._norms[norm] = norm
        return self.group(norm, GAIN, *(() if padded else (SHIFT,)), along=stream)

    def dense(self, name: str, out: str | Axis, into: str | Axis, norm: str | None = None) -> None:
        """A layer (out, in, *kernel)."""
        reads = _axis(into, 1, -1)
        self._links.append(Link(name, _axis(out, 0), reads, norm, self._norms.get(reads.group)))

    def diagonal(self, name: str, out: str | Axis, into: str | Axis, norm: str | None = None) -> None:
        """A layer (channels, …) in which each channel has its own weights."""
        self._links.append(Link(name, _axis(out, 0), _axis(into, 0, -1), norm))

    def vector(self, name: str, out: str | Axis) -> None:
        """A norm, a learned scale or a bias of its own."""
        self._links.append(Link(name, _axis(out, 0)))

    def table(self, name: str, rows: str, out: str | Axis, norm: str | None = None) -> None:
        """An embedding (rows, out), or positions and tokens (1, rows, out)."""
        last = len(self._named(name).shape) - 1
        self._links.append(Link(name, _axis(out, last), _axis(rows, last - 1, -1) if last else None, norm))

    def low_rank(self, pairs: Iterable[tuple[str, str, str]]) -> None:
        """Products of two layers that are added to what a base gives (LoRA; Hu et al. 2022): the names of the base,
        of the layer that reads what it reads, and of the one that writes what it writes. Parts of a fused base share
        the former.

        Raises:
            WiringMismatch: where a base is not wired, is diagonal, or a norm follows it.
        """
        beside: dict[str, list[tuple[str, str]]] = {}
        for base, first, second in pairs:
            beside.setdefault(base, []).append((first, second))
        bases, self._links = self._links, []
        shared: set[str] = set()
        for link in bases:
            self._links.append(link)
            for first, second in beside.pop(link.layer, ()):
                if link.norm or link.into is None or link.into.dim == link.out.dim:
                    raise WiringMismatch(f"{second} stands beside a layer that is diagonal or has a norm")
                if first not in shared:
                    self.dense(first, self.hidden(first, "linear"), _turned(link.into))
                    shared.add(first)
                self.dense(second, link.out, first)
        if beside:
            raise WiringMismatch(f"nothing stands beside the pair of {next(iter(beside))}")

    def mlp(
        self,
        up: str,
        down: str,
        reads: str,
        writes: str,
        activation: str | None,
        *,
        gate: str | None = None,
        scale: str | None = None,
    ) -> None:
        """Hidden units between two layers; with a ``gate`` beside ``up`` they are linear in what ``up`` gives
        (Shazeer 2020)."""
        if gate is None:
            hidden = self.hidden(f"{up}.hidden", activation)
        else:
            hidden = self.group(f"{up}.hidden", PERMUTE, SCALE, SIGN)
            self.dense(gate, Axis(hidden, charge=0), reads)
        self.dense(up, hidden, reads)
        self.dense(down, writes, hidden, scale)

    def attention(
        self,
        names: Sequence[str],
        reads: str,
        writes: str,
        heads: int,
        *,
        keys: int | None = None,
        memory: str | None = None,
        rotary: int = 0,
        norms: tuple[str, str] | None = None,
        shared: str | None = None,
        scale: str | None = None,
    ) -> str:
        """Queries, keys, values and output (their ``names``) of an attention with softmax; the group of its heads.

        ``keys``: the number of key heads; ``memory``: what keys and values read; ``rotary``: entries of each head
        that rotary positions turn; ``norms``: of queries and keys; ``shared``: the group of the heads, where other
        attentions have the same.
        """
        q, k, v, o = names
        bundle = heads // (keys or heads)
        own = shared or self.group(f"{o}.heads", PERMUTE, bundle=bundle)
        properties = {"size": heads, "bundle": bundle, "along": own}
        width, value_width = self.rows(q) // heads, self.rows(v) * bundle // heads
        if rotary % 2 or rotary > width:
            raise WiringMismatch(f"rotary positions can't turn {rotary} of {width} entries of a head")
        values = self.group(f"{v}.values", MIX, SHIFT, width=value_width, **properties)
        if norms is None:
            free = (FREE,) if not rotary and "bias" in self._named(k).tensors else ()
            kinds = (ROTATE,) if rotary else (MIX,)
            queries = keyed = self.group(f"{k}.keys", *kinds, *free, width=width, rotary=rotary, **properties)
            charge = -1
        else:
            queries = self.group(f"{q}.queries", NORMALISED, width=width, **properties)
            keyed = self.group(f"{k}.keys", NORMALISED, width=width, **properties)
            charge = 1
        self.dense(q, Axis(queries, charge=charge), reads)
        self.dense(k, Axis(keyed, bundled=bundle > 1), memory or reads)
        self.dense(v, Axis(values, bundled=bundle > 1), memory or reads)
        if norms:
            self._norms_of_heads(norms, width, rotary)
        self.dense(o, writes, values, scale)
        return own

    def _norms_of_heads(self, norms: tuple[str, str], width: int, rotary: int) -> None:
        """Gains over the entries of a head; the entries that rotary positions turn together share a factor."""
        half = self.group(f"{norms[1]}.pairs", SCALE, SIGN, size=rotary // 2, kind=FIXED)
        parts = [half, half]
        if width > rotary:
            parts.append(self.group(f"{norms[1]}.others", SCALE, SIGN, size=width - rotary, kind=FIXED))
        both = self.joined(f"{norms[1]}.entries", parts)
        self.vector(norms[1], both)
        self.vector(norms[0], Axis(both, charge=-1))

    def _named(self, name: str) -> Layer:
        if name not in self.layers:
            raise WiringMismatch(f"layer {name} is missing")
        return self.layers[name]

    def wiring(self, method: str, family: str | None = None) -> Wiring:
        """The finished wiring, checked against the layers.

        Groups that no layer writes (inputs) or none reads (outputs) are fixed. Actions that a group's layers don't
        allow are left out.

        Raises:
            WiringMismatch: where a layer is missing, left over, or its shape doesn't fit its groups.
        """
        used: set[str] = set()
        wired = [self._wire(link, used) for link in self._links]
        if left := self.layers.keys() - used:
            raise WiringMismatch(f"not in the table: {', '.join(sorted(left)[:4])}")
        groups = self._sized(wired) | {
            layer.norm.name: Group(
                layer.norm.name, layer.norm.shape[0], PERMUTABLE, (GAIN,), along=layer.out.group
            )
            for layer in wired
            if layer.norm and "gain" in layer.norm.tensors
        }
        layers = tuple(_with_blocks(layer, groups, may_flatten=family is None) for layer in wired)
        found = Wiring(method, groups, layers, family)
        return replace(found, groups={name: _allowed(found, group) for name, group in groups.items()})

    def _wire(self, link: Link, used: set[str]) -> WiredLayer:
        layer = self._named(link.layer)
        norm = self._named(link.norm) if link.norm else None
        before = self._named(link.before) if link.before else None
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
        eps = self.eps if given is None else given
        return WiredLayer(layer, link.out, link.into, norm, before, eps)

    def _sized(self, wired: Iterable[WiredLayer]) -> dict[str, Group]:
        """Every group that is used, with the size that its first writer (else its first reader) gives."""
        groups: dict[str, Group] = {}
        wired = list(wired)
        outs, ins = [layer.out for layer in wired], [layer.into for layer in wired]
        for layers_axis in (outs, ins):
            for layer, axis in zip(wired, layers_axis, strict=True):
                if axis and axis.group not in groups:
                    self._add(groups, axis, layer.layer.shape[axis.dim], layer)
        in_order = dict.fromkeys(axis.group for layer in wired for axis in reversed(layer.axes))
        return {name: groups[name] for name in dict.fromkeys([*in_order, *groups])}

    def _add(self, groups: dict[str, Group], axis: Axis, length: int, layer: WiredLayer) -> None:
        group = self._groups.get(axis.group) or self._implied(axis.group)
        if not group.width:
            raise WiringMismatch(f"{group.name} has more units than entries")
        units = length // group.width * (group.bundle if axis.bundled else 1)
        for other in group.bases:
            declared = self._groups.get(other) or self._implied(other)
            if other in groups:
                continue
            if declared.parts or declared.size:
                self._add(groups, Axis(other), declared.size, layer)
            elif other == group.along:
                groups[other] = replace(declared, size=group.size or units)
            else:
                raise WiringMismatch(f"{layer.layer.name} runs over {other}, which nothing writes")
        if group.parts:
            units = sum(groups[part].entries for part in group.parts)
        elif group.along and not group.size:
            units = groups[group.along].size
        groups[group.name] = group if group.size else replace(group, size=units)

    def _implied(self, name: str) -> Group:
        return Group(name, 0, PERMUTABLE, actions_of(activation(self.config)))


def _axis(given: str | Axis, dim: int, charge: int = 1) -> Axis:
    """An axis on ``dim``; of one that is given only the charge and bundling count."""
    if isinstance(given, Axis):
        return replace(given, dim=dim, charge=given.charge if charge > 0 else given.charge * charge)
    return Axis(given, dim=dim, charge=charge)


def _turned(into: Axis) -> Axis:
    """An in axis as it was given."""
    return replace(into, charge=-into.charge)


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


def _allowed(wiring: Wiring, group: Group) -> Group:
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

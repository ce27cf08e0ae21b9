"""What a family's table wires a network with: layers by name, and the groups between them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import accumulate
from string import digits
from typing import Any

from natsort import natsorted

from peace_pipeline.symmetry.wiring.activations import actions_of, activation
from peace_pipeline.symmetry.wiring.linking import Link, linked, named
from peace_pipeline.symmetry.wiring.symmetries import (
    FREE,
    GAIN,
    MIX,
    NORMALISED,
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
    Wiring,
    WiringMismatch,
)
from peace_pipeline.weights.conventions import number_in
from peace_pipeline.weights.layers import Layer


def number(config: Mapping[str, Any], *keys: str) -> int:
    """The first of a config's ``keys`` that is a positive number.

    Raises:
        WiringMismatch: where none is.
    """
    found = number_in(config, *keys)
    if found is None:
        raise WiringMismatch(f"the config gives no {keys[0]}")
    return found


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
        return natsorted(self._numbered.get(prefix, ()))

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

    def turned(self, name: str, out: str | Axis, into: str | Axis, norm: str | None = None) -> None:
        """A layer (in, out, *kernel): a transposed convolution."""
        self._links.append(Link(name, _axis(out, 1), _axis(into, 0, -1), norm))

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
        sinks: str | None = None,
    ) -> str:
        """Queries, keys, values and output (their ``names``) of an attention with softmax; the group of its heads.

        ``keys``: the number of key heads; ``memory``: what keys and values read; ``rotary``: entries of each head
        that rotary positions turn; ``norms``: of queries and keys; ``shared``: the group of the heads, where other
        attentions have the same; ``sinks``: a value for each head, whose part of the attention goes nowhere.
        """
        q, k, v, o = names
        bundle = heads // (keys or heads)
        own = shared or self.group(f"{o}.heads", PERMUTE, bundle=bundle)
        properties = {"size": heads, "bundle": bundle, "along": own}
        width, value_width = self.rows(q) // heads, self.rows(v) * bundle // heads
        if rotary % 2 or rotary > width:
            raise WiringMismatch(f"rotary positions can't turn {rotary} of {width} entries of a head")
        moved = () if sinks else (SHIFT,)  # what all of the attention adds up to
        values = self.group(f"{v}.values", MIX, *moved, width=value_width, **properties)
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
        if sinks:
            self.vector(sinks, Axis(own, charge=0))
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
        return named(self.layers, name)

    def wiring(self, method: str, family: str | None = None, assumes: tuple[str, ...] = ()) -> Wiring:
        """The finished wiring; see :func:`linked`."""
        return linked(self._links, self.layers, self._declared, method, family, self.eps, assumes)

    def _declared(self, name: str) -> Group:
        """A group as the table declares it, else as the activation implies it."""
        return self._groups.get(name) or Group(name, 0, PERMUTABLE, actions_of(activation(self.config)))


def _axis(given: str | Axis, dim: int, charge: int = 1) -> Axis:
    """An axis on ``dim``; of one that is given only the charge and bundling count."""
    if isinstance(given, Axis):
        return replace(given, dim=dim, charge=given.charge if charge > 0 else given.charge * charge)
    return Axis(given, dim=dim, charge=charge)


def _turned(into: Axis) -> Axis:
    """An in axis as it was given."""
    return replace(into, charge=-into.charge)

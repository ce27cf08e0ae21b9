"""The wiring: for each axis of each parameter, the neuron group that the axis runs over.

It is the one description of a network's symmetry. Actions, canonical form, comparison and encoder all work from it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import takewhile
from typing import Any

from peace_pipeline.symmetry.wiring.symmetries import GAIN
from peace_pipeline.weights.layers import Layer

PERMUTABLE, FIXED, INDEPENDENT = "permutable", "fixed", "independent"
CHAIN, PARTS = "chain", "parts"

ONE_AFTER_THE_OTHER = (
    "its layers are applied one after the other, only the next one reads their units, and nothing there tells units "
    "apart by their place (groups, neighbours, positions)"
)
"""What a chain assumes, where nothing but names and shapes says so."""

FLATTENED = (
    "channels are flattened with each one's places together, and nothing else is read beside them or done to them but "
    "pooling"
)
"""What a chain assumes of a linear layer behind a convolution, where two networks are compared by it."""

EPSILON = 1e-5
"""Of a norm whose file doesn't give it: PyTorch's default."""


class WiringMismatch(ValueError):
    """A description that doesn't fit the checkpoint's names or shapes."""


@dataclass(frozen=True)
class Group:
    """A set of neurons: ``size`` units (channels, heads) of ``width`` entries each.

    ``actions`` are the symmetries that the network certainly has on it. ``along`` is the group whose permutation the
    units follow, where they have none of their own; ``bundle`` says how many units stay together (the query heads of
    one key head); ``parts`` are the groups that it is a concatenation of; ``rotary`` is the number of entries of each
    unit that rotary positions turn. ``whole`` is how many units it has in the network, where only ``size`` are kept.
    """

    name: str
    size: int
    kind: str
    actions: tuple[str, ...] = ()
    whole: int | None = None
    width: int = 1
    bundle: int = 1
    along: str | None = None
    parts: tuple[str, ...] = ()
    rotary: int = 0

    @property
    def entries(self) -> int:
        """Number of neurons: an axis over the group has as many positions (or blocks of them)."""
        return self.size * self.width

    @property
    def bases(self) -> tuple[str, ...]:
        """The groups that it is made of or moves with: its parts, and what it is along."""
        return (*self.parts, self.along) if self.along else self.parts

    @property
    def full_size(self) -> int:
        """Number of neurons in the network."""
        return (self.whole or self.size) * self.width


@dataclass(frozen=True)
class Axis:
    """Dimension ``dim`` of a tensor runs over a group; each entry owns ``block`` neighbouring positions.

    ``charge`` says how the group's linear maps act: 1 as they are (what is written), −1 by their inverse (what is
    read, and queries against keys), 0 not at all (what only moves along with the units). ``bundled``: there is one
    unit for a whole bundle.
    """

    group: str
    block: int = 1
    dim: int = 0
    charge: int = 1
    bundled: bool = False


@dataclass(frozen=True)
class WiredLayer:
    """A layer between two groups. ``into`` is ``None`` where it has no input axis (norms, tokens); an ``into`` on the
    dimension of ``out`` makes it diagonal (depthwise convolutions, norms of single channels).

    ``norm`` is a BatchNorm or learned scale that follows and can be folded into the rows; ``before`` a norm that only
    linear layers read, whose gain can be folded into the columns. ``eps`` is the epsilon of ``norm``, or the layer's
    own where it is a norm itself.
    """

    layer: Layer
    out: Axis
    into: Axis | None = None
    norm: Layer | None = None
    before: Layer | None = None
    eps: float = EPSILON

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The axes of the weight, ``out`` first."""
        return (self.out, self.into) if self.into else (self.out,)

    @property
    def is_diagonal(self) -> bool:
        """Whether each neuron of ``out`` reads its own neuron of ``into``."""
        return self.into is not None and self.into.dim == self.out.dim

    @property
    def weight(self) -> str:
        """Name of the main tensor: the weight, else the gain, else what there is."""
        tensors = self.layer.tensors
        return tensors.get("weight") or tensors.get("gain") or next(iter(tensors.values()))

    @property
    def own(self) -> tuple[Layer, ...]:
        """The layers whose tensors are described here and nowhere else."""
        return (self.layer, self.norm) if self.norm else (self.layer,)

    @property
    def every(self) -> tuple[Layer, ...]:
        """All layers whose tensors it takes: its own, and the norm before it."""
        return (*self.own, self.before) if self.before else self.own


@dataclass(frozen=True)
class Wiring:
    """Groups and layers of a network. Layers stand in an order in which data can flow through them.

    ``assumes`` is what its symmetries rest on, in plain words, where nothing proves it: empty means that they are
    certain. ``notes`` are findings that cost it symmetries, in plain words.
    """

    method: str
    groups: dict[str, Group]
    layers: tuple[WiredLayer, ...]
    family: str | None = None
    assumes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def basis(self) -> str:
        """``certain``, or ``assumed`` where something is."""
        return "assumed" if self.assumes else "certain"

    @property
    def summary(self) -> str:
        """Method, family and basis in words."""
        family = f" ({self.family})" if self.family else ""
        if self.assumes:
            return f"{self.method}{family}, assuming that {' and '.join(self.assumes)}"
        return self.method if self.method == INDEPENDENT else f"{self.method}{family}, which is certain"

    def touching(self, group: str) -> list[tuple[WiredLayer, Axis]]:
        """Layers with an axis over ``group``, each with that axis."""
        return self._touching.get(group, [])

    def writers(self, group: str) -> list[WiredLayer]:
        """Layers whose out axis runs over ``group``."""
        return [layer for layer, axis in self.touching(group) if axis is layer.out]

    def readers(self, group: str) -> list[WiredLayer]:
        """Layers whose in axis runs over ``group``."""
        return [layer for layer, axis in self.touching(group) if axis is layer.into]

    def axes(self, group: str, *, along: bool = False) -> list[tuple[WiredLayer, Axis]]:
        """Layers with an axis over ``group`` or over a concatenation that it is a part of, each with that axis, in the
        order of data flow; ``along``: also over groups that are along these neuron for neuron (of a root)."""
        return (self._axes_along if along else self._axes).get(group, [])

    def following(self, group: str) -> list[Group]:
        """Groups that are along ``group``, or that it is a part of."""
        return self._following.get(group, [])

    def wholes(self, group: str) -> list[Group]:
        """Concatenations that ``group`` is a part of."""
        return [other for other in self.following(group) if group in other.parts]

    def dependents(self, group: str) -> list[Group]:
        """All groups that move with ``group``: those that follow it, those that follow these, and so on."""
        found: dict[str, Group] = {}
        waiting = [group]
        while waiting:
            new = {other.name: other for other in self.following(waiting.pop()) if other.name not in found}
            found |= new
            waiting += new
        return list(found.values())

    def bases(self, group: str) -> list[str]:
        """``group``, and all that can act on its entries: what it is made of or moves with, and so on."""
        found = {group: None}
        waiting = [group]
        while waiting:
            new = [base for base in self.groups[waiting.pop()].bases if base not in found]
            found |= dict.fromkeys(new)
            waiting += new
        return list(found)

    def above(self, group: str) -> tuple[str, ...]:
        """``group``, what it is along, what that is along, and so on."""
        names = [group]
        while over := self.groups[names[-1]].along:
            names.append(over)
        return tuple(names)

    def root(self, group: str) -> str:
        """The group whose neurons these are: the uppermost that ``group`` is along neuron for neuron, else itself.

        The entries of attention heads are along the heads unit for unit: they are their own root (see :meth:`order`).
        """
        entries = self.groups[group].entries
        return list(takewhile(lambda name: self.groups[name].entries == entries, self.above(group)))[-1]

    def order(self, group: str) -> str:
        """The group whose permutation the units of ``group`` follow, however many entries its own units have."""
        return self.above(group)[-1]

    def leaves(self, group: str) -> tuple[tuple[str, int], ...]:
        """The groups that the neurons of ``group`` are of, and the entry at which each begins: the parts of its root
        (and theirs), else the root alone."""
        return tuple(self._leaves(group, self.root))

    def orders(self, group: str) -> tuple[str, ...]:
        """The groups whose permutations the units of ``group`` follow: several where its order is a concatenation."""
        return tuple(name for name, _ in self._leaves(group, self.order))

    def _leaves(self, group: str, found: Callable[[str], str]) -> Iterator[tuple[str, int]]:
        own, start = self.groups[found(group)], 0
        if not own.parts:
            yield own.name, 0
        for part in own.parts:
            for leaf, offset in self._leaves(part, found):
                yield leaf, start + offset
            start += self.groups[part].entries

    @cached_property
    def _touching(self) -> dict[str, list[tuple[WiredLayer, Axis]]]:
        return self._indexed(lambda group: [group])

    @cached_property
    def _axes(self) -> dict[str, list[tuple[WiredLayer, Axis]]]:
        return self._indexed(lambda group: self._with_parts(group))

    @cached_property
    def _axes_along(self) -> dict[str, list[tuple[WiredLayer, Axis]]]:
        return self._indexed(lambda group: map(self.root, self._with_parts(self.root(group))))

    def _with_parts(self, group: str) -> Iterator[str]:
        yield group
        for part in self.groups[group].parts:
            yield from self._with_parts(part)

    def _indexed(self, names: Callable[[str], Iterable[str]]) -> dict[str, list[tuple[WiredLayer, Axis]]]:
        """Layers and axes by the ``names`` that an axis' group is found under."""
        found: dict[str, list[tuple[WiredLayer, Axis]]] = {}
        for layer in self.layers:
            for axis in layer.axes:
                for name in dict.fromkeys(names(axis.group)):
                    found.setdefault(name, []).append((layer, axis))
        return found

    @cached_property
    def _following(self) -> dict[str, list[Group]]:
        found: dict[str, list[Group]] = {}
        for group in self.groups.values():
            for name in dict.fromkeys(group.bases):
                found.setdefault(name, []).append(group)
        return found

    def acting(self, *actions: str) -> Iterator[Group]:
        """Groups that one of ``actions`` acts on, first touched first (as a part, too)."""
        order = [
            name for layer in self.layers for axis in layer.axes for name in self._with_parts(axis.group)
        ]
        return (
            self.groups[name]
            for name in dict.fromkeys([*order, *self.groups])
            if any(action in self.groups[name].actions for action in actions)
        )

    def norm_before(self, group: str) -> Layer | None:
        """The norm that writes a group of normalised neurons."""
        return next((reader.before for reader in self.readers(group)), None)

    @cached_property
    def folded(self) -> Wiring:
        """The same wiring after folding: layer i has ``i.weight`` (out, in, *kernel) and ``i.bias``, and no norm."""
        layers = tuple(self._folded(position, wired) for position, wired in enumerate(self.layers))
        kept = {base for wired in layers for axis in wired.axes for base in self.bases(axis.group)}
        groups = {
            name: replace(group, actions=tuple(action for action in group.actions if action != GAIN))
            for name, group in self.groups.items()
            if name in kept
        }
        return replace(self, groups=groups, layers=layers)

    def _folded(self, position: int, wired: WiredLayer) -> WiredLayer:
        names = {"weight": f"{position}.weight"}
        has_bias = {"bias", "shift", "mean"} & wired.layer.tensors.keys()
        if wired.norm or has_bias or (wired.before and "shift" in wired.before.tensors):
            names["bias"] = f"{position}.bias"
        layer = replace(wired.layer, tensors=names, shape=oriented_shape(wired))
        into = wired.into and replace(wired.into, dim=0 if wired.is_diagonal else 1)
        if into and wired.before:
            into = replace(into, group=self.groups[into.group].along or into.group)
        return replace(wired, layer=layer, out=replace(wired.out, dim=0), into=into, norm=None, before=None)

    @cached_property
    def signature(self) -> str:
        """Equal for networks whose folded tensors can be stacked: names are left out, shapes are not."""
        folded = self.folded
        number = {name: index for index, name in enumerate(folded.groups)}
        layers = [
            (
                wired.layer.kind,
                wired.layer.shape,
                [(number[axis.group], *list(asdict(axis).values())[1:]) for axis in wired.axes],
                "bias" in wired.layer.tensors,
            )
            for wired in folded.layers
        ]
        groups = [
            (
                *list(asdict(replace(group, along=None, parts=())).values())[1:],
                [number[name] for name in group.bases if name in number],
            )
            for group in folded.groups.values()
        ]
        return json.dumps([layers, groups])

    def to_json(self) -> str:
        """A JSON text that :meth:`from_json` reads back."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Wiring:
        """The wiring that :meth:`to_json` wrote. Earlier versions of PEACE did not write what a chain assumes."""
        document = json.loads(text)
        groups = {
            name: Group(**{**group, "actions": tuple(group["actions"]), "parts": tuple(group["parts"])})
            for name, group in document["groups"].items()
        }
        layers = tuple(_layer_from_json(layer) for layer in document["layers"])
        method = document["method"]
        assumes = document.get("assumes", [ONE_AFTER_THE_OTHER] if method == CHAIN else [])
        notes = tuple(document.get("notes", ()))
        return cls(method, groups, layers, document["family"], tuple(assumes), notes)


def oriented(wired: WiredLayer) -> tuple[int, ...]:
    """The order of the weight's dimensions that puts the out axis first, the in axis second."""
    first = dict.fromkeys(axis.dim for axis in wired.axes)
    return tuple(dict.fromkeys([*first, *range(len(wired.layer.shape))]))


def oriented_shape(wired: WiredLayer) -> tuple[int, ...]:
    """Shape of the folded weight: (out, in, *kernel)."""
    return tuple(wired.layer.shape[dim] for dim in oriented(wired))


def epsilon(layer: Layer | None) -> float:
    """A norm's epsilon where its file gives it, else the usual one."""
    return EPSILON if layer is None or layer.eps is None else layer.eps


def _layer_from_json(fields: dict[str, Any]) -> WiredLayer:
    def layer(value: dict[str, Any] | None) -> Layer | None:
        return Layer(**{**value, "shape": tuple(value["shape"])}) if value else None

    into = fields["into"] and Axis(**fields["into"])
    own = layer(fields["layer"])
    assert own is not None
    norm, before = layer(fields["norm"]), layer(fields["before"])
    return WiredLayer(own, Axis(**fields["out"]), into, norm, before, fields["eps"])

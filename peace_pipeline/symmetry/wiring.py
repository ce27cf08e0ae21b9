"""The wiring: for each axis of each parameter, the neuron group that the axis runs over.

It is the one description of a network's symmetry. Augmentation, canonical form and encoder all work from it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

from peace_pipeline.weights.layers import Layer

PERMUTABLE, FIXED, INDEPENDENT = "permutable", "fixed", "independent"
PERMUTE, SCALE = "permute", "scale"
SCALABLE_ACTIVATIONS = frozenset({"relu", "leaky_relu", "leakyrelu"})
_ACTIVATION_KEYS = ("hidden_act", "activation_function", "hidden_activation", "activation", "act_fn")


class WiringMismatch(ValueError):
    """A description that doesn't fit the checkpoint's names or shapes."""


@dataclass(frozen=True)
class Group:
    """A set of neurons. ``actions`` are the symmetries that the network certainly has on it.

    ``whole`` is how many neurons it has in the network, where only ``size`` of them are kept.
    """

    name: str
    size: int
    kind: str
    actions: tuple[str, ...] = ()
    whole: int | None = None

    @property
    def full_size(self) -> int:
        """Number of neurons in the network."""
        return self.whole or self.size


@dataclass(frozen=True)
class Axis:
    """An axis that runs over a group; each neuron owns ``block`` neighbouring entries."""

    group: str
    block: int = 1


EPSILON = 1e-5
"""Of a norm whose file doesn't give it: PyTorch's default."""


@dataclass(frozen=True)
class WiredLayer:
    """A layer between two groups. ``into`` is ``None`` where the layer has no input axis (norms).

    ``norm`` is a BatchNorm that follows and can be folded into it. ``eps`` is that one's epsilon, or the layer's own
    where it is a norm itself.
    """

    layer: Layer
    out: Axis
    into: Axis | None = None
    norm: Layer | None = None
    eps: float = EPSILON

    @property
    def scaled(self) -> tuple[str, ...]:
        """The tensors to multiply when the out group's units are scaled."""
        last = self.norm or self.layer
        return tuple(
            last.tensors[role] for role in ("weight", "bias", "gain", "shift") if role in last.tensors
        )


@dataclass(frozen=True)
class Link:
    """One line of a family's table: a layer by name, the groups it writes and reads, its norm."""

    layer: str
    out: str
    into: str | None
    norm: str | None = None


@dataclass(frozen=True)
class Wiring:
    """Groups and layers of a network. Layers stand in an order in which data can flow through them."""

    method: str
    groups: dict[str, Group]
    layers: tuple[WiredLayer, ...]
    family: str | None = None

    def writers(self, group: str) -> list[WiredLayer]:
        """Layers whose out axis runs over ``group``."""
        return [layer for layer in self.layers if layer.out.group == group]

    def readers(self, group: str) -> list[WiredLayer]:
        """Layers whose in axis runs over ``group``."""
        return [layer for layer in self.layers if layer.into and layer.into.group == group]

    def acting(self, action: str) -> Iterator[Group]:
        """Groups that ``action`` acts on, first written first."""
        order = dict.fromkeys(layer.out.group for layer in self.layers)
        return (self.groups[name] for name in order if action in self.groups[name].actions)

    @cached_property
    def folded(self) -> Wiring:
        """The same wiring after folding: layer i has ``i.weight`` and ``i.bias``, and no norm."""
        layers = []
        for position, wired in enumerate(self.layers):
            names = {"weight": f"{position}.weight"}
            if wired.norm or {"bias", "shift", "mean"} & wired.layer.tensors.keys():
                names["bias"] = f"{position}.bias"
            layers.append(replace(wired, layer=replace(wired.layer, tensors=names), norm=None))
        return replace(self, layers=tuple(layers))

    @cached_property
    def signature(self) -> str:
        """Equal for networks whose folded tensors can be stacked: names are left out, shapes are not."""
        number = {name: place for place, name in enumerate(self.groups)}

        def axis(own: Axis | None) -> Any:
            return own and (number[own.group], own.block)

        layers = [
            (
                wired.layer.kind,
                wired.layer.shape,
                axis(wired.out),
                axis(wired.into),
                "bias" in wired.layer.tensors,
            )
            for wired in self.folded.layers
        ]
        groups = [(group.size, group.whole, group.kind, group.actions) for group in self.groups.values()]
        return json.dumps([layers, groups])

    def to_json(self) -> str:
        """A JSON text that :meth:`from_json` reads back."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Wiring:
        """The wiring that :meth:`to_json` wrote."""
        document = json.loads(text)
        groups = {
            name: Group(**{**group, "actions": tuple(group["actions"])})
            for name, group in document["groups"].items()
        }
        layers = tuple(_layer_from_json(layer) for layer in document["layers"])
        return cls(document["method"], groups, layers, document["family"])


def _layer_from_json(fields: dict[str, Any]) -> WiredLayer:
    def layer(value: dict[str, Any] | None) -> Layer | None:
        return Layer(**{**value, "shape": tuple(value["shape"])}) if value else None

    into = fields["into"] and Axis(**fields["into"])
    own = layer(fields["layer"])
    assert own is not None
    return WiredLayer(own, Axis(**fields["out"]), into, layer(fields["norm"]), fields["eps"])


def activation(config: dict[str, Any]) -> str | None:
    """The hidden activation that a config.json names, in lower case."""
    names = (config.get(key) for key in _ACTIVATION_KEYS)
    return next((name.lower() for name in names if isinstance(name, str)), None)


def assemble(
    method: str,
    links: Iterable[Link],
    layers: Iterable[Layer],
    config: dict[str, Any],
    family: str | None = None,
) -> Wiring:
    """Check a table of links against a checkpoint's layers and build the wiring.

    Groups that no layer writes (inputs) or none reads (outputs) are fixed, the others permutable, and scalable
    where the config names an activation that is positively homogeneous.

    Raises:
        WiringMismatch: where a layer is missing, left over, or its shape doesn't fit its groups.
    """
    named = {layer.name: layer for layer in layers}
    used: set[str] = set()
    wired = tuple(_wire(link, named, used) for link in links)
    if left := named.keys() - used:
        raise WiringMismatch(f"not in the table: {', '.join(sorted(left)[:4])}")
    sizes = _sizes(wired)
    wired = tuple(_with_blocks(layer, sizes) for layer in wired)
    written = {layer.out.group for layer in wired}
    read = {layer.into.group for layer in wired if layer.into}
    scalable = activation(config) in SCALABLE_ACTIVATIONS
    groups = {}
    for name, size in sizes.items():
        hidden = name in written and name in read
        writers = [layer for layer in wired if layer.out.group == name]
        affine = all(
            layer.norm is None or {"gain", "shift"} <= layer.norm.tensors.keys() for layer in writers
        )
        actions = (PERMUTE, SCALE) if scalable and affine else (PERMUTE,)
        groups[name] = Group(name, size, PERMUTABLE if hidden else FIXED, actions if hidden else ())
    return Wiring(method, groups, wired, family)


def _wire(link: Link, named: dict[str, Layer], used: set[str]) -> WiredLayer:
    for name in filter(None, (link.layer, link.norm)):
        if name not in named or name in used:
            raise WiringMismatch(f"layer {name} is missing or used twice")
        used.add(name)
    layer, norm = named[link.layer], named[link.norm] if link.norm else None
    if layer.is_norm or (link.into and len(layer.shape) < 2):
        raise WiringMismatch(f"layer {layer.name} has no input axis")
    if norm and not (norm.is_norm and norm.shape == layer.shape[:1]):
        raise WiringMismatch(f"{norm.name} is no norm over the channels of {layer.name}")
    into = Axis(link.into) if link.into else None
    return WiredLayer(layer, Axis(link.out), into, norm, epsilon(norm))


def epsilon(layer: Layer | None) -> float:
    """A norm's epsilon where its file gives it, else the usual one."""
    return EPSILON if layer is None or layer.eps is None else layer.eps


def _sizes(wired: tuple[WiredLayer, ...]) -> dict[str, int]:
    written: dict[str, int] = {}
    for layer in wired:
        if written.setdefault(layer.out.group, layer.layer.shape[0]) != layer.layer.shape[0]:
            raise WiringMismatch(f"{layer.layer.name} doesn't have the size of {layer.out.group}")
    inputs: dict[str, int] = {}
    for layer in wired:
        if layer.into and layer.into.group not in written:
            inputs[layer.into.group] = layer.layer.shape[1]
    return inputs | written


def _with_blocks(wired: WiredLayer, sizes: dict[str, int]) -> WiredLayer:
    if wired.into is None:
        return wired
    width, size = wired.layer.shape[1], sizes[wired.into.group]
    if width % size or (width != size and len(wired.layer.shape) > 2):
        raise WiringMismatch(f"{wired.layer.name} doesn't read {wired.into.group}")
    return replace(wired, into=Axis(wired.into.group, width // size))

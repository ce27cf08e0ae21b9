"""Networks that are to be compared, and which of their layers stand for each other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from scipy.optimize import linear_sum_assignment

from peace_pipeline.symmetry.opening import OpenNetwork
from peace_pipeline.symmetry.wiring.inference import independent
from peace_pipeline.symmetry.wiring.types import INDEPENDENT, WiredLayer, Wiring
from peace_pipeline.weights.layers import Layer

_FINGERPRINT = 4096
"""Values of a layer that tell which other layer it is, where names don't."""


@dataclass(frozen=True)
class Counterparts:
    """What two networks have in common: parts of their wirings whose layers stand for each other in order."""

    a: Wiring
    b: Wiring

    @property
    def assumes(self) -> tuple[str, ...]:
        """What the symmetries rest on that bring them into one form."""
        return tuple(dict.fromkeys([*self.a.assumes, *self.b.assumes]))

    def missing(self, a: OpenNetwork, b: OpenNetwork) -> tuple[int, int]:
        """How many layers of each have no counterpart."""
        return _missing(self.a, a.wiring), _missing(self.b, b.wiring)


def counterparts(a: OpenNetwork, b: OpenNetwork, least: float) -> Counterparts | None:
    """What can be compared of two networks: all of it in the order of data flow where they are wired alike, what has
    the same names and shapes, or what has the same shapes and most similar values.

    ``None`` where even equal layers would make less than ``least`` of the smaller network.
    """
    are_known = INDEPENDENT not in (a.wiring.method, b.wiring.method)
    if are_known and a.wiring.signature == b.wiring.signature:
        return Counterparts(a.wiring, b.wiring)
    whole = min(sum(map(each.size, each.wiring.layers)) for each in (a, b))
    by_name = _by_name(a, b) if b.wiring.method == INDEPENDENT else _by_name(b, a)
    for found in (Counterparts(by_name, by_name), _by_content(a, b)):
        if sum(map(a.size, found.a.layers)) >= max(1, least * whole):
            return found
    return None


def _by_name(a: OpenNetwork, b: OpenNetwork) -> Wiring:
    """The part of a network's wiring whose tensors another has too."""

    def is_shared(wired: WiredLayer) -> bool:
        names = [name for layer in wired.every for name in layer.tensors.values()]
        shapes = [
            [each.logical.tensors[name].shape for name in names] for each in (a, b) if _has(each, names)
        ]
        return len(shapes) == 2 and shapes[0] == shapes[1]

    return replace(a.wiring, layers=tuple(wired for wired in a.wiring.layers if is_shared(wired)))


def _has(network: OpenNetwork, names: Sequence[str]) -> bool:
    return all(name in network.logical.tensors for name in names)


def _by_content(a: OpenNetwork, b: OpenNetwork) -> Counterparts:
    """Layers of one shape in two networks, paired so that their values agree most."""
    groups: dict[tuple[object, ...], tuple[list[Layer], list[Layer]]] = defaultdict(lambda: ([], []))
    for side, network in enumerate((a, b)):
        for layer in _layers_of(network.wiring):
            groups[(layer.shape, *sorted(layer.tensors))][side].append(layer)
    pairs = [pair for alike in groups.values() if all(alike) for pair in _assigned(a, b, *alike)]
    first, second = ([pair[side] for pair in pairs] for side in (0, 1))
    return Counterparts(independent(first), independent(second))


def _assigned(
    a: OpenNetwork, b: OpenNetwork, first: list[Layer], second: list[Layer]
) -> Iterator[tuple[Layer, Layer]]:
    if len(first) == len(second) == 1:
        yield first[0], second[0]
        return
    one = torch.stack([_fingerprint(a, layer) for layer in first])
    other = torch.stack([_fingerprint(b, layer) for layer in second])
    for i, j in zip(*linear_sum_assignment((one @ other.mT).numpy(), maximize=True), strict=True):
        yield first[i], second[j]


def _fingerprint(network: OpenNetwork, layer: Layer) -> torch.Tensor:
    """Evenly spaced values of a layer's tensors, of unit norm."""
    values = torch.cat([network.logical.read(name).flatten() for _, name in sorted(layer.tensors.items())])
    chosen = values[:: -(-len(values) // _FINGERPRINT)].double()
    return chosen / chosen.norm().clamp_min(1e-300)


def _layers_of(wiring: Wiring) -> Iterator[Layer]:
    """All layers that a wiring names, each once."""
    yield from {layer.name: layer for wired in wiring.layers for layer in wired.every}.values()


def _missing(part: Wiring, whole: Wiring) -> int:
    return len({layer.name for layer in _layers_of(whole)} - {layer.name for layer in _layers_of(part)})

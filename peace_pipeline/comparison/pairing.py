"""Networks that are to be compared, and which of their tensors stand for each other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import torch
from scipy.optimize import linear_sum_assignment

from peace_pipeline.comparison.growing import Grown, grown, is_hidden
from peace_pipeline.comparison.names import Names, Places, alike, in_order
from peace_pipeline.symmetry.opening import OpenNetwork
from peace_pipeline.symmetry.wiring.types import INDEPENDENT, WiredLayer, Wiring
from peace_pipeline.weights.layers import Layer
from peace_pipeline.weights.logical.names import may_be_tied

_FINGERPRINT = 4096
"""Values of a tensor that tell which other tensor it is."""
_ALIKE, _DEVIATIONS = 0.5, 4.0
"""Correlation from which on values tell that, and how many standard deviations of chance it must be above it."""
_MOST = 2048
"""Tensors of one shape: of more, names alone tell which is which."""

_Shapes = dict[str, tuple[int, ...]]
_Prints = Mapping[str, torch.Tensor | None]


@dataclass(frozen=True)
class Counterparts:
    """What two networks have in common: parts of their wirings whose layers stand for each other in order.

    ``left`` are the tensors of each that have no counterpart and matter; ``in_order`` says whether data flows through
    both in one order as far as that is known; ``grown`` are layers that are larger in one of them.
    """

    a: Wiring
    b: Wiring
    left: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    in_order: bool = True
    grown: Grown = field(default_factory=Grown)

    @property
    def assumes(self) -> tuple[str, ...]:
        """What the symmetries rest on that bring them into one form."""
        return tuple(dict.fromkeys([*self.a.assumes, *self.b.assumes]))

    def missing(self, a: OpenNetwork, b: OpenNetwork) -> tuple[int, int]:
        """How many layers of each have tensors without a counterpart."""
        return _missing(self.left[0], a.wiring), _missing(self.left[1], b.wiring)

    @property
    def names(self) -> dict[str, str]:
        """Tensor of the first network → its counterpart."""
        pairs = zip(self.a.layers, self.b.layers, strict=True)
        return {
            name: other.tensors[role]
            for x, y in pairs
            for own, other in zip(x.every, y.every, strict=True)
            for role, name in own.tensors.items()
        }


def counterparts(
    a: OpenNetwork, b: OpenNetwork, least: float, *, by_values: bool = False
) -> Counterparts | None:
    """What can be compared of two networks: all of it in the order of data flow where they are wired alike, else the
    tensors of the same names and shapes, of most similar values, or of the same place.

    ``by_values``: where they have the same names, too, values come first. ``None`` where even equal layers would make
    less than ``least`` of the smaller network.
    """
    are_known = INDEPENDENT not in (a.wiring.method, b.wiring.method)
    if are_known and not by_values and a.wiring.signature == b.wiring.signature:
        return Counterparts(a.wiring, b.wiring)
    shapes = _shapes(a), _shapes(b)
    if shapes[0] == shapes[1] and not by_values:
        pairs, distinct = {name: name for name in shapes[0]}, set[str]()
    else:
        pairs, distinct = _paired(a, b, shapes)
    found = _counterparts(a, b, shapes, pairs)
    named = {x: y for x, y in found.names.items() if x in distinct}
    found = replace(found, in_order=in_order(named, shapes))
    whole = min(sum(map(each.size, each.wiring.layers)) for each in (a, b))
    common = sum(map(a.size, found.a.layers))
    return found if common >= max(1, least * whole) else None


def _shapes(network: OpenNetwork) -> _Shapes:
    """All tensors of the wiring, in its order."""
    names = (name for layer in _layers_of(network.wiring) for name in layer.tensors.values())
    return {name: tuple(network.logical.tensors[name].shape) for name in names}


def _layers_of(wiring: Wiring) -> Iterable[Layer]:
    """All layers that a wiring names, each once."""
    return {layer.name: layer for wired in wiring.layers for layer in wired.every}.values()


def _missing(left: Iterable[str], wiring: Wiring) -> int:
    names = set(left)
    return sum(not names.isdisjoint(layer.tensors.values()) for layer in _layers_of(wiring))


def _paired(
    a: OpenNetwork, b: OpenNetwork, shapes: tuple[_Shapes, _Shapes]
) -> tuple[dict[str, str], set[str]]:
    """Tensors that stand for each other: by their values where these tell, then those of the same name in the same
    place, then the others of one shape by names and position, then those of other sizes; and which tensors of the
    first network differ from what else has their shape."""
    alike_in_shape = _by_shape(shapes)
    prints = [_fingerprints(each, own) for each, own in zip((a, b), alike_in_shape, strict=True)]
    pairs: dict[str, str] = {}
    for shape, first in alike_in_shape[0].items():
        if second := alike_in_shape[1].get(shape):
            pairs |= _by_values(first, second, *prints)
    places = Places(pairs.items(), 1)
    _add(pairs, [(name, places.of(name)) for name in shapes[0]], shapes, is_equal=True)
    for shape, first in alike_in_shape[0].items():
        taken = set(pairs.values())
        rest = [name for name in first if name not in pairs]
        others = [name for name in alike_in_shape[1].get(shape, ()) if name not in taken]
        if rest and others:
            pairs |= _by_names(rest, others)
    places = Places(pairs.items(), 1)
    _add(pairs, [(name, places.of(name)) for name in shapes[0]], shapes, is_equal=False)
    return pairs, {name for name, found in prints[0].items() if found is not None} & pairs.keys()


def _add(
    pairs: dict[str, str],
    found: Iterable[tuple[str, str]],
    shapes: tuple[_Shapes, _Shapes],
    *,
    is_equal: bool,
) -> None:
    """Add pairs of tensors that have none yet, of equal shapes or of equally many dimensions."""
    taken = set(pairs.values())
    for name, other in found:
        if name not in pairs and other not in taken and other in shapes[1]:
            first, second = shapes[0][name], shapes[1][other]
            if first == second if is_equal else len(first) == len(second):
                pairs[name] = other
                taken.add(other)


def _by_shape(shapes: tuple[_Shapes, _Shapes]) -> list[dict[tuple[int, ...], list[str]]]:
    found = []
    for own in shapes:
        groups: defaultdict[tuple[int, ...], list[str]] = defaultdict(list)
        for name, shape in own.items():
            groups[shape].append(name)
        found.append(dict(groups))
    return found


def _fingerprints(
    network: OpenNetwork, groups: Mapping[tuple[int, ...], list[str]]
) -> dict[str, torch.Tensor | None]:
    """Evenly spaced values of each tensor, of mean 0 and unit norm; ``None`` where all are the same, or it is not
    read."""
    return {
        name: _fingerprint(network, name)
        for names in groups.values()
        if len(names) <= _MOST
        for name in names
    }


def _fingerprint(network: OpenNetwork, name: str) -> torch.Tensor | None:
    values = network.logical.read(name).flatten()
    chosen = values[:: -(-len(values) // _FINGERPRINT)].double()
    spread = chosen - chosen.mean()
    norm = spread.norm()
    return spread / norm if float(norm) > 1e-6 * float(chosen.norm()) else None


def _by_values(
    first: list[str],
    second: list[str],
    one: Mapping[str, torch.Tensor | None],
    other: Mapping[str, torch.Tensor | None],
) -> dict[str, str]:
    """Tensors of one shape whose values are so much alike that it is no chance."""
    first = [name for name in first if one.get(name) is not None]
    second = [name for name in second if other.get(name) is not None]
    if not (first and second):
        return {}
    a, b = (
        torch.stack([found for name in names if (found := prints[name]) is not None])
        for names, prints in ((first, one), (second, other))
    )
    agreed = a @ b.mT
    least = max(_ALIKE, _DEVIATIONS / a.shape[1] ** 0.5)
    chosen = linear_sum_assignment((agreed + 1e-3 * alike(first, second)).numpy(), maximize=True)
    return {first[i]: second[j] for i, j in zip(*chosen, strict=True) if float(agreed[i, j]) >= least}


def _by_names(first: list[str], second: list[str]) -> dict[str, str]:
    """Tensors of one shape by how their names end and where they stand among the others."""
    if len(first) * len(second) > _MOST**2:
        return {}
    a, b = (torch.linspace(0, 1, len(names), dtype=torch.float64) for names in (first, second))
    score = alike(first, second) - 0.1 * (a[:, None] - b[None]).abs()
    return {
        first[i]: second[j] for i, j in zip(*linear_sum_assignment(score.numpy(), maximize=True), strict=True)
    }


def _counterparts(
    a: OpenNetwork, b: OpenNetwork, shapes: tuple[_Shapes, _Shapes], pairs: Names
) -> Counterparts:
    """The part of the better known wiring whose tensors have counterparts, once for each network."""
    is_second = _how_well_known(b.wiring) > _how_well_known(a.wiring)
    own, other = (b, a) if is_second else (a, b)
    names = {y: x for x, y in pairs.items()} if is_second else dict(pairs)
    sizes = (shapes[1], shapes[0]) if is_second else shapes
    fitted = (found for wired in own.wiring.layers if (found := _fitted(wired, names)))
    same = tuple(wired for wired in fitted if _is_same(wired, own, other, names, sizes))
    wiring, more = grown(replace(own.wiring, layers=same), names, sizes)
    layers = {name: layer.name for layer in _layers_of(other.wiring) for name in layer.tensors.values()}
    twin = replace(wiring, layers=tuple(_renamed(wired, names, layers) for wired in wiring.layers))
    parts = (twin, wiring) if is_second else (wiring, twin)
    left = tuple(_left(network, part) for network, part in zip((a, b), parts, strict=True))
    return Counterparts(*parts, (left[0], left[1]), grown=more.swapped if is_second else more)


def _how_well_known(wiring: Wiring) -> tuple[bool, bool]:
    return wiring.method != INDEPENDENT, not wiring.assumes


def _fitted(wired: WiredLayer, names: Names) -> WiredLayer | None:
    """A layer all tensors of which have counterparts, if need be without its bias."""
    tensors = {role: name for role, name in wired.layer.tensors.items() if role != "bias" or name in names}
    if len(tensors) < len(wired.layer.tensors) and tensors:
        wired = replace(wired, layer=replace(wired.layer, tensors=tensors))
    every = (name for layer in wired.every for name in layer.tensors.values())
    return wired if all(name in names for name in every) else None


def _is_same(
    wired: WiredLayer, own: OpenNetwork, other: OpenNetwork, names: Names, sizes: tuple[_Shapes, _Shapes]
) -> bool:
    """Whether a layer of other sizes in the second network is one of the first's with rows or columns added or taken
    away: its units can be matched, or else those that both have are alike where they stand."""
    name = wired.weight
    first, second = sizes[0][name], sizes[1][names[name]]
    changed = [axis for axis in wired.axes if first[axis.dim] != second[axis.dim]]
    if first == second or any(is_hidden(own.wiring, axis.group) for axis in changed):
        return True
    both = tuple(slice(min(pair)) for pair in zip(first, second, strict=True))
    a, b = (
        network.logical.read(tensor)[both].flatten().double()
        for network, tensor in ((own, name), (other, names[name]))
    )
    agreed = torch.corrcoef(torch.stack([a, b]))[0, 1] if len(a) > 1 else torch.zeros(())
    return float(agreed.nan_to_num()) >= max(_ALIKE, _DEVIATIONS / len(a) ** 0.5)


def _renamed(wired: WiredLayer, names: Names, layers: Names) -> WiredLayer:
    """A layer of one network as the other names its tensors."""

    def new(layer: Layer) -> Layer:
        tensors = {role: names[name] for role, name in layer.tensors.items()}
        return replace(layer, name=layers[next(iter(tensors.values()))], tensors=tensors)

    norm, before = (layer and new(layer) for layer in (wired.norm, wired.before))
    return replace(wired, layer=new(wired.layer), norm=norm, before=before)


def _left(network: OpenNetwork, part: Wiring) -> tuple[str, ...]:
    """The tensors of a network that a part of it has not, and that matter: neither copies of a tied embedding that it
    has nor biases of zeros."""
    shapes = _shapes(network)
    had = [name for layer in _layers_of(part) for name in layer.tensors.values()]
    known = set(had)
    return tuple(
        name
        for name in shapes
        if not (name in known or _is_zero(network, name) or _is_copy(network, name, had, shapes))
    )


def _is_zero(network: OpenNetwork, name: str) -> bool:
    return name.endswith("bias") and not bool(network.logical.read(name).any())


def _is_copy(network: OpenNetwork, name: str, had: list[str], shapes: _Shapes) -> bool:
    return may_be_tied(name) and any(
        torch.equal(network.logical.read(name, None), network.logical.read(other, None))
        for other in had
        if shapes[other] == shapes[name]
    )

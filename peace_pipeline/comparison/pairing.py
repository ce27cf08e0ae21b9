"""Networks that are to be compared, and which of their tensors stand for each other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import torch
from scipy.optimize import linear_sum_assignment

from peace_pipeline.comparison.fingerprints import (
    DEVIATIONS,
    LEAST,
    MOST,
    ByShape,
    Shape,
    is_wired,
    of_norms,
    of_values,
    paired_by_norms,
    paired_by_values,
)
from peace_pipeline.comparison.growing import Grown, grown, is_hidden
from peace_pipeline.comparison.names import Names, Places, alike, exchanged, in_order
from peace_pipeline.symmetry.opening import OpenNetwork
from peace_pipeline.symmetry.wiring.types import INDEPENDENT, WiredLayer, Wiring
from peace_pipeline.weights.layers import Layer
from peace_pipeline.weights.logical.names import may_be_tied

NAMES, VALUES, NORMS = "names", "values", "norms"
"""What is asked first which tensors stand for each other."""
CARRIED = "the layers of both are coupled alike, as equal weights suggest"
"""What is assumed where one network's names say nothing of how its layers are coupled."""

_Shapes = dict[str, Shape]


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


def counterparts(a: OpenNetwork, b: OpenNetwork, least: float, by: str = NAMES) -> Counterparts | None:
    """What can be compared of two networks: all of it in the order of data flow where they are wired alike, else the
    tensors of the same names and shapes, of most similar values, or of the same place.

    ``by``: with ``VALUES`` these come first where names are the same, too; with ``NORMS`` those of rows and columns.
    ``None`` where even equal layers would make less than ``least`` of the smaller network.
    """
    shapes = _shapes(a), _shapes(b)
    if by == NAMES and is_wired(a) and is_wired(b) and a.wiring.signature == b.wiring.signature:
        found = Counterparts(a.wiring, b.wiring)
        return replace(found, in_order=not exchanged(found.names, shapes))
    if by == NAMES and _ranks(shapes[0]) == _ranks(shapes[1]):
        pairs, distinct = {name: name for name in shapes[0]}, set[str]()
    else:
        pairs, distinct = _paired(a, b, shapes, by)
    found = _counterparts(a, b, shapes, pairs)
    named = {x: y for x, y in found.names.items() if x in distinct}
    found = replace(found, in_order=in_order(named, shapes))
    whole = min(sum(map(each.size, each.wiring.layers)) for each in (a, b))
    common = sum(min(a.size(x), b.size(y)) for x, y in zip(found.a.layers, found.b.layers, strict=True))
    return found if common >= max(1, least * whole) else None


def _shapes(network: OpenNetwork) -> _Shapes:
    """All tensors of the wiring, in its order."""
    names = (name for layer in _layers_of(network.wiring) for name in layer.tensors.values())
    return {name: tuple(network.logical.tensors[name].shape) for name in names}


def _ranks(shapes: _Shapes) -> dict[str, int]:
    """How many dimensions each tensor has: of one name and rank in both, sizes may differ."""
    return {name: len(shape) for name, shape in shapes.items()}


def _layers_of(wiring: Wiring) -> Iterable[Layer]:
    """All layers that a wiring names, each once."""
    return {layer.name: layer for wired in wiring.layers for layer in wired.every}.values()


def _missing(left: Iterable[str], wiring: Wiring) -> int:
    names = set(left)
    return sum(not names.isdisjoint(layer.tensors.values()) for layer in _layers_of(wiring))


def _paired(
    a: OpenNetwork, b: OpenNetwork, shapes: tuple[_Shapes, _Shapes], by: str
) -> tuple[dict[str, str], set[str]]:
    """Tensors that stand for each other: by their values or norms where these tell, then those of the same name in the
    same place, then the others of one shape by names and position, then those of other sizes; and which tensors of the
    first network differ from what else has their shape."""
    groups = _by_shape(shapes)
    pairs, distinct = _by_norms(a, b, shapes, groups) if by == NORMS else _by_values(a, b, groups)
    _place(pairs, shapes, groups)
    return pairs, distinct & pairs.keys()


def _place(pairs: dict[str, str], shapes: tuple[_Shapes, _Shapes], groups: list[ByShape]) -> None:
    """Add to pairs of tensors those that names and places tell, the ones whose places are known first."""
    _add(pairs, shapes, is_equal=True)
    places = Places(pairs.items(), 1)
    for shape, first in groups[0].items():
        taken = set(pairs.values())
        rest = [name for name in first if name not in pairs]
        others = [name for name in groups[1].get(shape, ()) if name not in taken]
        if rest and others:
            pairs |= _by_names(rest, others, places)
    _add(pairs, shapes, is_equal=False)


def _by_values(a: OpenNetwork, b: OpenNetwork, groups: list[ByShape]) -> tuple[dict[str, str], set[str]]:
    prints = [of_values(each, own) for each, own in zip((a, b), groups, strict=True)]
    pairs: dict[str, str] = {}
    for shape, first in groups[0].items():
        pairs |= paired_by_values(first, groups[1].get(shape, ()), *prints)
    return pairs, {name for name, found in prints[0].items() if found is not None}


def _by_norms(
    a: OpenNetwork, b: OpenNetwork, shapes: tuple[_Shapes, _Shapes], groups: list[ByShape]
) -> tuple[dict[str, str], set[str]]:
    """Norms are folded in first, in a network that isn't wired as in the layers that have its places; then not."""
    placed: dict[str, str] = {}
    _place(placed, shapes, groups)
    parts = _counterparts(a, b, shapes, placed)
    wirings = tuple(each.wiring if is_wired(each) else part for each, part in ((a, parts.a), (b, parts.b)))
    pairs: dict[str, str] = {}
    for folding in (wirings, (None, None)):
        for dim in (0, 1):
            prints = [of_norms(*each, dim) for each in zip((a, b), folding, groups, strict=True)]
            for shape, first in groups[0].items():
                found = paired_by_norms(first, groups[1].get(shape, ()), *prints)
                taken = set(pairs.values())
                pairs |= {x: y for x, y in found.items() if x not in pairs and y not in taken}
    return pairs, set(pairs)


def _add(pairs: dict[str, str], shapes: tuple[_Shapes, _Shapes], *, is_equal: bool) -> None:
    """Add pairs of tensors that have none yet, of equal shapes or of equally many dimensions, by their places."""
    taken, places = set(pairs.values()), Places(pairs.items(), 1)
    for name in sorted(shapes[0], key=places.known, reverse=True):
        other = places.of(name)
        if name not in pairs and other not in taken and other in shapes[1]:
            first, second = shapes[0][name], shapes[1][other]
            if first == second if is_equal else len(first) == len(second):
                pairs[name] = other
                taken.add(other)


def _by_shape(shapes: tuple[_Shapes, _Shapes]) -> list[ByShape]:
    found: list[ByShape] = []
    for own in shapes:
        groups: defaultdict[Shape, list[str]] = defaultdict(list)
        for name, shape in own.items():
            groups[shape].append(name)
        found.append(dict(groups))
    return found


def _by_names(first: list[str], second: list[str], places: Places) -> dict[str, str]:
    """Tensors of one shape by how their names end, what their places are, and where they stand among the others."""
    if len(first) * len(second) > MOST**2:
        return {}
    a, b = (torch.linspace(0, 1, len(names), dtype=torch.float64) for names in (first, second))
    begun = alike(*([_reversed(name) for name in names] for names in (map(places.of, first), second)))
    score = alike(first, second) + begun - 0.1 * (a[:, None] - b[None]).abs()
    return {
        first[i]: second[j] for i, j in zip(*linear_sum_assignment(score.numpy(), maximize=True), strict=True)
    }


def _reversed(name: str) -> str:
    return ".".join(reversed(name.split(".")))


def _counterparts(
    a: OpenNetwork, b: OpenNetwork, shapes: tuple[_Shapes, _Shapes], pairs: Names
) -> Counterparts:
    """The part of the better known wiring whose tensors have counterparts, once for each network; of two that are known
    as well the one that leaves less over."""
    known = [_how_well_known(each.wiring) for each in (a, b)]
    found = []
    if known[0] >= known[1]:
        found.append(_as_wired(a, b, shapes, pairs))
    if known[1] >= known[0] and not (found and not any(found[0].left)):
        turned = _as_wired(b, a, shapes[::-1], {y: x for x, y in pairs.items()})
        left = turned.left[1], turned.left[0]
        found.append(replace(turned, a=turned.b, b=turned.a, left=left, grown=turned.grown.swapped))
    return min(found, key=lambda each: sum(map(len, each.left)))


def _as_wired(
    own: OpenNetwork, other: OpenNetwork, shapes: tuple[_Shapes, _Shapes], names: Names
) -> Counterparts:
    """The part of the first one's wiring whose tensors have counterparts, once for each network."""
    fitted = (found for wired in own.wiring.layers if (found := _fitted(wired, names)))
    same = tuple(wired for wired in fitted if _is_same(wired, own, other, names, shapes))
    wiring, more = grown(replace(own.wiring, layers=same), names, shapes)
    layers = {name: layer.name for layer in _layers_of(other.wiring) for name in layer.tensors.values()}
    twin = replace(wiring, layers=tuple(_renamed(wired, names, layers) for wired in wiring.layers))
    if other.wiring.method == INDEPENDENT and any(x != y for x, y in names.items()):
        twin = replace(twin, assumes=(*twin.assumes, CARRIED))
    return Counterparts(wiring, twin, (_left(own, wiring), _left(other, twin)), grown=more)


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
    return float(agreed.nan_to_num()) >= max(LEAST, DEVIATIONS / len(a) ** 0.5)


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

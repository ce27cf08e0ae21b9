"""Two networks in one form, and how near they are to each other there.

Both are brought into it by weight matching; each layer's cosine there is set against the cosine that chance gives,
where one network's hidden units are mixed and matched likewise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property

import torch

from peace_pipeline.comparison.alignment import Aligned, Layers
from peace_pipeline.comparison.chance import Mixing
from peace_pipeline.comparison.evidence import ROUNDINGS, distance, dot
from peace_pipeline.comparison.matching import like, match
from peace_pipeline.comparison.names import Places
from peace_pipeline.comparison.pairing import NAMES, NORMS, VALUES, Counterparts, counterparts
from peace_pipeline.comparison.settings import adapter_scales, is_scale
from peace_pipeline.comparison.thresholds import Thresholds
from peace_pipeline.symmetry.form.folding import folded_layer
from peace_pipeline.symmetry.group.elements import Tensors
from peace_pipeline.symmetry.opening import OpenNetwork
from peace_pipeline.symmetry.wiring.types import Wiring, oriented

EQUIVALENT, DERIVED, UNRELATED = "equivalent", "derived", "unrelated"
_SMALL_NETWORK = 1 << 25
"""Values. Larger networks are compared in float32."""
_FEW, _DRAWS = 1 << 13, 8
"""Values of all draws of what chance gives, where one draw has fewer, and the most draws."""
SCALE_UNKNOWN = "an adapter whose scale no file says has that of the other"

CLEAR = 0.75
"""Similarity from which on derived networks are surely so: such as were trained apart on the same data may come to .5,
in the plane to .7 (benchmarks/widths.py)."""
_CUT = 0.5
"""The least similarity of derived networks where one has fewer hidden units, which have more ways to match."""
_TURNED = 0.2
"""So much nearer come networks that were trained apart in layers whose units are turned onto each other, as the
embeddings of small language models are."""
_NEAR = 0.95
"""Similarity below which other pairs of layers are tried."""

Change = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class LayerPair:
    """Two layers that stand for each other: the number of values of the smaller one, in one form their cosine, and the
    norm of their difference over the larger one's; ``chance`` is the cosine that chance gives, ``is_turned`` whether
    one's units were turned onto the other's, and in chance values are of random order."""

    a: str
    b: str
    size: int
    cosine: float
    distance: float
    chance: float = 0.0
    is_turned: bool = False

    @property
    def similarity(self) -> float:
        """How far the cosine lies above chance; 1 where the layers are equal, at least −1 (chance may be near 1)."""
        above = (self.cosine - self.chance) / max(1 - self.chance, 1e-9)
        return min(1.0, max(-1.0, above))


@dataclass(frozen=True)
class Measured:
    """Two networks against each other. ``whole`` is the smaller one's number of values; ``missing`` is how many layers
    and scalars of each have no counterpart. ``scalars`` are compared as they are; ``lonely`` are those without one.
    ``is_whole`` says whether the layers that they have in common have all their units in both, ``is_cut`` whether they
    have more hidden ones in one, ``in_order`` whether data flows through them in one order."""

    pairs: tuple[LayerPair, ...]
    whole: int
    missing: tuple[int, int]
    tolerance: float
    permutations: dict[str, list[int]] = field(default_factory=dict)
    scalars: tuple[LayerPair, ...] = ()
    is_whole: bool = True
    in_order: bool = True
    is_cut: bool = False
    assumes: tuple[str, ...] = ()
    lonely: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())

    @property
    def distance(self) -> float:
        """The largest distance of any layer or scalar."""
        return max((pair.distance for pair in (*self.pairs, *self.scalars)), default=1.0)

    @property
    def similarity(self) -> float:
        """Mean of the layers', each weighted by its number of values; those without a counterpart count 0."""
        every = (*self.pairs, *self.scalars)
        whole = max(self.whole, sum(pair.size for pair in every))
        return sum(pair.similarity * pair.size for pair in every) / max(whole, 1)

    @property
    def is_equal(self) -> bool:
        """Whether all that both have is equal."""
        return self.distance <= self.tolerance

    def verdict(self, thresholds: Thresholds) -> str:
        """``equivalent`` (where nothing of either is left, and all is in one order), ``derived`` or ``unrelated``."""
        if self.is_equal and self.is_whole and self.in_order and not any(self.missing):
            return EQUIVALENT
        return DERIVED if self.similarity >= self.bound(thresholds) else UNRELATED

    def bound(self, thresholds: Thresholds) -> float:
        """The least similarity of derived networks."""
        return (max(thresholds.derived, _CUT) if self.is_cut else thresholds.derived) + self.doubt

    @property
    def is_clear(self) -> bool:
        """Whether derived networks are nearer than any that were trained apart on the same data."""
        return self.similarity >= CLEAR + self.doubt

    @property
    def doubt(self) -> float:
        """What bounds gain by layers whose units are turned onto each other."""
        turned = sum(pair.size for pair in self.pairs if pair.is_turned)
        return _TURNED * turned / max(1, sum(pair.size for pair in self.pairs))


@dataclass(frozen=True)
class Side:
    """One of two networks that are compared: its part of what they have in common, and what its weights are multiplied
    with beside (adapters)."""

    network: OpenNetwork
    wiring: Wiring
    number: int
    parts: Counterparts
    scales: dict[str, float]

    def layers(self, dtype: torch.dtype, change: Change = lambda values: values) -> Layers:
        """Its folded layers, ``change`` done to the stored values."""

        def read(name: str) -> torch.Tensor:
            values = change(self.network.logical.read(name, dtype)) * self.scales.get(name, 1.0)
            return self.parts.grown.filled(self.number, name, values)

        return lambda position: folded_layer(self.wiring.layers[position], read)

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Of its folded weights (out, in, *kernel), before they are filled up."""
        found = []
        for wired in self.wiring.layers:
            shape = self.network.logical.tensors[wired.weight].shape
            found.append(shape if wired.layer.is_norm else tuple(shape[dim] for dim in oriented(wired)))
        return found


@dataclass(frozen=True)
class Form:
    """Two networks in one form."""

    sides: tuple[Side, Side]
    parts: Counterparts
    aligned: tuple[Aligned, Aligned]

    @cached_property
    def versions(self) -> list[tuple[str, int, Aligned, Aligned]]:
        """Each of them rounded in each way of ``ROUNDINGS``, in that form, and the other, with the other's number."""
        return [
            (text, 1 - side.number, like(own, side.layers(torch.float64, rounding)), other)
            for side, own, other in zip(self.sides, self.aligned, self.aligned[::-1], strict=True)
            for text, (_, rounding) in ROUNDINGS.items()
        ]

    def layer(self, side: Aligned, position: int) -> Tensors:
        """What both networks have of a layer, as one of them has it."""
        return self.parts.grown.kept(side.wiring.layers[position], side.layer(position))

    def stored(self, position: int) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """A layer's tensors as both files have them, the weight first."""
        a, b = (side.wiring.layers[position] for side in self.sides)
        roles = sorted(a.layer.tensors, key=lambda role: a.layer.tensors[role] != a.weight)
        first, second = (
            [side.network.logical.read(wired.layer.tensors[role], None) for role in roles]
            for side, wired in zip(self.sides, (a, b), strict=True)
        )
        return first, second

    def encodings(self, position: int) -> list[str | None]:
        """How both files encode a layer's weight."""
        return [
            side.network.logical.tensors[side.wiring.layers[position].weight].stored for side in self.sides
        ]


def measure(
    a: OpenNetwork, b: OpenNetwork, thresholds: Thresholds, *, seed: int = 0
) -> tuple[Measured, Form | None]:
    """Two networks in one form, and how near they are to each other there.

    What chance gives is only measured where they are not equal up to symmetry. Where they are not near by names or
    order, they are compared as they stand, and their values and norms are asked which layers stand for each other.
    """
    best: tuple[Measured, Form | None] | None = None
    tried: list[Mapping[str, str]] = []
    for by in (NAMES, VALUES, NORMS):
        parts = counterparts(a, b, thresholds.derived, by)
        names = parts.names if parts else {}
        if best and names in [{}, *tried]:
            continue
        tried.append(names)
        for is_matched in (True, False) if parts else (True,):
            found = _measured(a, b, parts, thresholds, seed, is_matched=is_matched)
            best = max(best or found, found, key=lambda each: each[0].similarity)
            if best[0].is_equal or best[0].similarity >= _NEAR:
                return best
    assert best is not None
    return best


def _measured(
    a: OpenNetwork,
    b: OpenNetwork,
    parts: Counterparts | None,
    thresholds: Thresholds,
    seed: int,
    *,
    is_matched: bool,
) -> tuple[Measured, Form | None]:
    """Two networks by these counterparts, their units matched or as they stand."""
    whole = min(sum(map(each.size, each.wiring.layers)) for each in (a, b))
    if parts is None:
        missing = (len(a.wiring.layers), len(b.wiring.layers))
        return Measured((), whole, missing, thresholds.tolerance), None
    largest = max(a.logical.parameters, b.logical.parameters)
    dtype = torch.float64 if largest <= _SMALL_NETWORK else torch.float32
    scales, assumed = _scales(a, b, parts)
    sides = Side(a, parts.a, 0, parts, scales[0]), Side(b, parts.b, 1, parts, scales[1])
    # of small networks every layer is asked for several times
    kept: Callable[[Layers], Layers] = cache if dtype == torch.float64 else lambda layers: layers
    reads = [kept(side.layers(dtype)) for side in sides]
    form = Form(sides, parts, _aligned(parts, *reads, is_matched=is_matched))
    pairs = tuple(
        LayerPair(x.layer.name, y.layer.name, min(a.size(x), b.size(y)), *_apart(form, position))
        for position, (x, y) in enumerate(zip(parts.a.layers, parts.b.layers, strict=True))
    )
    scalars, lonely = _scalars(a, b, parts)
    missing = parts.missing(a, b)
    found = Measured(
        pairs,
        whole,
        (missing[0] + len(lonely[0]), missing[1] + len(lonely[1])),
        thresholds.tolerance,
        {} if parts.grown else {n: order[0].tolist() for n, order in form.aligned[0].permutations.items()},
        scalars,
        not parts.grown,
        parts.in_order,
        parts.grown.is_hidden,
        assumed,
        lonely,
    )
    if found.verdict(thresholds) != EQUIVALENT:
        draws = min(_DRAWS, max(1, _FEW // max(whole, 1)))
        seeds = range(seed, seed + draws)
        pairs = _over_chance(pairs, form, reads, kept, seeds, is_matched=is_matched)
    return replace(found, pairs=pairs), form


def _over_chance(
    pairs: tuple[LayerPair, ...],
    form: Form,
    reads: Sequence[Layers],
    kept: Callable[[Layers], Layers],
    seeds: Sequence[int],
    *,
    is_matched: bool,
) -> tuple[LayerPair, ...]:
    """The pairs with what chance gives them: the mean of as many draws as seeds, in which either network is mixed by
    turns; where one is filled up, that one is."""
    nulls = [Mixing(aligned, side.shapes) for aligned, side in zip(form.aligned, form.sides, strict=True)]
    first = 0 if form.parts.grown.is_first_smaller else 1
    chances = []
    for seed in seeds:
        mixed = first if form.parts.grown else (first + seed) % 2
        layers = list(reads)
        layers[mixed] = kept(nulls[mixed].layers(seed))
        other = replace(form, aligned=_aligned(form.parts, *layers, is_matched=is_matched))
        chances.append([max(0.0, _apart(other, position)[0]) for position in range(len(pairs))])
    return tuple(
        replace(pair, chance=sum(each) / len(each), is_turned=is_matched and nulls[first].is_turned(position))
        for position, (pair, each) in enumerate(zip(pairs, zip(*chances, strict=True), strict=True))
    )


def _aligned(parts: Counterparts, a: Layers, b: Layers, *, is_matched: bool) -> tuple[Aligned, Aligned]:
    """Both in one form, in which the smaller one keeps the order of its units; or as they stand."""
    if not is_matched:
        return Aligned(parts.a.folded, a), Aligned(parts.a.folded, b)
    if parts.grown.is_first_smaller:
        second, first = match(parts.a, b, a)
        return first, second
    return match(parts.a, a, b)


def _apart(form: Form, position: int) -> tuple[float, float]:
    """Cosine and relative distance of what both networks have of a layer."""
    a, b = (form.layer(side, position) for side in form.aligned)
    first, second = (torch.cat([value.flatten() for value in side.values()]) for side in (a, b))
    norms = dot(first, first) ** 0.5, dot(second, second) ** 0.5
    if not min(norms):
        return float(norms == (0, 0)), distance(a, b)
    return dot(first, second) / (norms[0] * norms[1]), distance(a, b)


def _scales(
    a: OpenNetwork, b: OpenNetwork, parts: Counterparts
) -> tuple[tuple[dict[str, float], dict[str, float]], tuple[str, ...]]:
    """What the weights of adapters are multiplied with in both networks, where that differs; and what is assumed of
    it."""
    first, second = adapter_scales(a), adapter_scales(b)
    scales: tuple[dict[str, float], dict[str, float]] = ({}, {})
    is_assumed = False
    for name, other in parts.names.items() if first and second else ():
        x, y = first.get(name), second.get(other)
        if x is not None and y is not None and x != y:
            scales[0][name], scales[1][other] = x, y
        is_assumed |= (x is None) != (y is None)
    return scales, ((SCALE_UNKNOWN,) if is_assumed else ())


def _scalars(
    a: OpenNetwork, b: OpenNetwork, parts: Counterparts
) -> tuple[tuple[LayerPair, ...], tuple[tuple[str, ...], tuple[str, ...]]]:
    """Tensors of no dimension, which no layer has, and those of each network that have no counterpart."""
    places = Places(parts.names.items())
    first, second = (
        {name: float(each.logical.read(name, torch.float64)) for name in _of_no_dimension(each)}
        for each in (a, b)
    )
    pairs = [
        (name, other) for name in first if (other := name if name in second else places.of(name)) in second
    ]
    had, theirs = dict(pairs), {other for _, other in pairs}
    left = (
        tuple(name for name in first if name not in had),
        tuple(name for name in second if name not in theirs),
    )
    return tuple(_scalar(x, y, first[x], second[y]) for x, y in pairs), left


def _of_no_dimension(network: OpenNetwork) -> list[str]:
    tensors = network.logical.tensors.items()
    return [
        name for name, info in tensors if info.is_floating and not info.shape and not is_scale(name, network)
    ]


def _scalar(a: str, b: str, x: float, y: float) -> LayerPair:
    largest = max(abs(x), abs(y))
    apart = abs(x - y) / largest if largest else 0.0
    return LayerPair(a, b, 1, 1 - apart, apart)

"""``peace compare``: what two networks have to do with each other.

Both are brought into one form by weight matching; each layer's cosine there is set against the cosine that chance
gives, where the second network's values are shuffled within each layer and matched likewise.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Any

import torch

from peace_pipeline.comparison.alignment import Aligned, Layers
from peace_pipeline.comparison.evidence import (
    ROUNDINGS,
    Evidence,
    distance,
    dot,
    few_levels,
    on_grid,
    pruned,
    relation_of,
    rounded,
    trained,
)
from peace_pipeline.comparison.matching import like, match
from peace_pipeline.comparison.pairing import Counterparts, counterparts
from peace_pipeline.comparison.thresholds import Thresholds
from peace_pipeline.lake import Lake
from peace_pipeline.symmetry.group.elements import Tensors
from peace_pipeline.symmetry.opening import OpenNetwork, open_network
from peace_pipeline.weights.checkpoint import Checkpoint
from peace_pipeline.weights.errors import UnreadableCheckpoint
from peace_pipeline.zoo.fetching import Fetcher

IDENTICAL, EQUIVALENT, DERIVED, UNRELATED = VERDICTS = ("identical", "equivalent", "derived", "unrelated")
EQUAL = 1e-7
"""Relative distance of layers below which nothing happened to them."""
_SMALL_NETWORK = 1 << 25
"""Values. Larger networks are compared in float32."""


@dataclass(frozen=True)
class LayerPair:
    """Two layers that stand for each other: in one form their cosine, and the norm of their difference over the
    larger one's; ``chance`` is the cosine that chance gives."""

    a: str
    b: str
    size: int
    cosine: float
    distance: float
    chance: float = 0.0

    @property
    def similarity(self) -> float:
        """How far the cosine lies above chance; 1 where the layers are equal, at least −1 (chance may be near 1)."""
        return max(-1.0, (self.cosine - self.chance) / max(1 - self.chance, 1e-9))


@dataclass(frozen=True)
class Measured:
    """Two networks against each other. ``whole`` is the smaller one's number of values; ``missing`` is how many layers
    of each have no counterpart."""

    pairs: tuple[LayerPair, ...]
    whole: int
    missing: tuple[int, int]
    tolerance: float
    permutations: dict[str, list[int]] = field(default_factory=dict)

    @property
    def distance(self) -> float:
        """The largest distance of any layer."""
        return max((pair.distance for pair in self.pairs), default=1.0)

    @property
    def similarity(self) -> float:
        """Mean of the layers', each weighted by its number of values; those without a counterpart count 0."""
        return sum(pair.similarity * pair.size for pair in self.pairs) / self.whole

    def verdict(self, thresholds: Thresholds) -> str:
        """``equivalent`` (where one holds the other too), ``derived`` or ``unrelated``."""
        if not min(self.missing) and self.distance <= self.tolerance:
            return EQUIVALENT
        return DERIVED if self.similarity >= thresholds.derived else UNRELATED


@dataclass(frozen=True)
class Form:
    """Two networks in one form."""

    networks: tuple[OpenNetwork, OpenNetwork]
    parts: Counterparts
    aligned: tuple[Aligned, Aligned]

    @cached_property
    def versions(self) -> list[tuple[str, Aligned, Aligned]]:
        """Each of them rounded in each way of ``ROUNDINGS``, in that form, and the other."""
        wirings = (self.parts.a, self.parts.b)
        return [
            (text, like(own, network.layers(wiring, torch.float64, rounding)), other)
            for network, wiring, own, other in zip(
                self.networks, wirings, self.aligned, self.aligned[::-1], strict=True
            )
            for text, (_, rounding) in ROUNDINGS.items()
        ]

    def stored(self, position: int) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """A layer's tensors as both files have them, the weight first."""
        a, b = (wiring.layers[position] for wiring in (self.parts.a, self.parts.b))
        roles = sorted(a.layer.tensors, key=lambda role: a.layer.tensors[role] != a.weight)
        first, second = (
            [network.logical.read(wired.layer.tensors[role], None) for role in roles]
            for network, wired in zip(self.networks, (a, b), strict=True)
        )
        return first, second


def compare(lake: Lake, a: str, b: str, fetcher: Fetcher | None = None) -> dict[str, Any]:
    """Compare two networks, named as :func:`open_network` takes them, and say so in a JSON object.

    Raises:
        UnreadableCheckpoint: where one can't be read, or only in part.
    """
    thresholds = Thresholds.of(lake)
    with _opened(lake, a, fetcher) as first, _opened(lake, b, fetcher) as second:
        return describe(first, second, thresholds)


def describe(a: OpenNetwork, b: OpenNetwork, thresholds: Thresholds) -> dict[str, Any]:
    """The verdict on two open networks, with its reasons."""
    if is_identical(a.checkpoint, b.checkpoint):
        reason = "all tensors have the same names and bytes"
        return {"verdict": IDENTICAL, "similarity": 1.0, "tolerance": 0.0, "reason": reason, "layers": []}
    measured, form = measure(a, b, thresholds)
    verdict = measured.verdict(thresholds)
    document: dict[str, Any] = {
        "verdict": verdict,
        "similarity": round(measured.similarity, 6),
        "tolerance": measured.tolerance,
    }
    found: list[Evidence] = []
    if verdict == DERIVED and form:
        found, document["relation"] = evidence(measured, form)
    assumes = form.parts.assumes if form and verdict == EQUIVALENT else ()
    if assumes:
        document["assumes"] = list(assumes)
    document["reason"] = _reason(measured, verdict, thresholds, document.get("relation"), assumes)
    document["layers"] = [
        {"a": pair.a, "b": pair.b, "similarity": round(pair.similarity, 6)} for pair in measured.pairs
    ]
    for layer, each in zip(document["layers"], found, strict=False):
        layer["evidence"] = each.text
    if verdict != UNRELATED and measured.permutations:
        document["permutations"] = measured.permutations
    return document


@contextmanager
def _opened(lake: Lake, name: str, fetcher: Fetcher | None) -> Iterator[OpenNetwork]:
    """As :func:`open_network`, whose errors don't say which of two networks they are about."""
    with ExitStack() as stack:
        try:
            network = stack.enter_context(open_network(lake, name, fetcher))
        except UnreadableCheckpoint as error:
            raise UnreadableCheckpoint(f"{name}: {error}") from error
        if network.logical.sampled:
            raise UnreadableCheckpoint(
                f"{name}: its source's byte budget lets only a part of its weights through"
            )
        yield network


def is_identical(a: Checkpoint, b: Checkpoint) -> bool:
    """Whether all tensors have the same names, dtypes, shapes and bytes."""
    described = [
        {name: (info.shape, info.stored or info.dtype) for name, info in side.tensors.items()}
        for side in (a, b)
    ]
    return described[0] == described[1] and all(
        torch.equal(a.read(name, None), b.read(name, None)) for name in a.tensors
    )


def measure(
    a: OpenNetwork, b: OpenNetwork, thresholds: Thresholds, *, seed: int = 0
) -> tuple[Measured, Form | None]:
    """Two networks in one form, and how near they are to each other there.

    What chance gives is only measured where they are not equal up to symmetry.
    """
    whole = min(sum(map(each.size, each.wiring.layers)) for each in (a, b))
    tolerance = thresholds.tolerance
    largest = max(a.logical.parameters, b.logical.parameters)
    dtype = torch.float64 if largest <= _SMALL_NETWORK else torch.float32
    parts = counterparts(a, b, thresholds.derived)
    if parts is None:
        return Measured((), whole, (len(a.wiring.layers), len(b.wiring.layers)), tolerance), None
    read_a, read_b = a.layers(parts.a, dtype), b.layers(parts.b, dtype)
    if dtype == torch.float64:  # small: every layer is asked for several times
        read_a, read_b = cache(read_a), cache(read_b)
    aligned = match(parts.a, read_a, read_b)
    pairs = tuple(
        LayerPair(x.layer.name, y.layer.name, a.size(x), *_apart(aligned, position))
        for position, (x, y) in enumerate(zip(parts.a.layers, parts.b.layers, strict=True))
    )
    orders = {name: order[0].tolist() for name, order in aligned[0].permutations.items()}
    found = Measured(pairs, whole, parts.missing(a, b), tolerance, orders)
    if found.verdict(thresholds) != EQUIVALENT:
        by_chance = match(parts.a, read_a, _shuffled(read_b, seed))
        chances = [max(0.0, _apart(by_chance, position)[0]) for position in range(len(pairs))]
        pairs = tuple(replace(pair, chance=chance) for pair, chance in zip(pairs, chances, strict=True))
    return replace(found, pairs=pairs), Form((a, b), parts, aligned)


def _apart(aligned: tuple[Aligned, Aligned], position: int) -> tuple[float, float]:
    """Cosine and relative distance of a layer in both networks."""
    a, b = (side.layer(position) for side in aligned)
    first, second = (torch.cat([value.flatten() for value in side.values()]) for side in (a, b))
    norms = dot(first, first) ** 0.5, dot(second, second) ** 0.5
    if not min(norms):
        return float(norms == (0, 0)), distance(a, b)
    return dot(first, second) / (norms[0] * norms[1]), distance(a, b)


def _shuffled(layers: Layers, seed: int) -> Layers:
    """Layers whose values are in random order."""

    def read(position: int) -> Tensors:
        generator = torch.Generator().manual_seed(seed + position)
        return {
            role: tensor.flatten()[torch.randperm(tensor.numel(), generator=generator)].view(tensor.shape)
            for role, tensor in layers(position).items()
        }

    return read


def evidence(measured: Measured, form: Form) -> tuple[list[Evidence], str]:
    """What happened to each layer of a derived network, and to the whole."""
    found = [_evidence(form, position) for position in range(len(measured.pairs))]
    return found, relation_of(zip(found, (pair.size for pair in measured.pairs), strict=True))


def _evidence(form: Form, position: int) -> Evidence:
    """What happened to a layer: first as its values are stored, then in one form."""
    first, second = (side.layer(position) for side in form.aligned)
    apart, stored = distance(first, second), form.stored(position)
    if apart <= EQUAL:
        return Evidence(None, "unchanged")
    return (
        on_grid(*stored)
        or pruned(first, second)
        or few_levels(stored[0][0], stored[1][0])
        or rounded(
            apart,
            [
                (text, distance(own.layer(position), other.layer(position)))
                for text, own, other in form.versions
            ],
        )
        or trained(*_nearer(stored, first["weight"], second["weight"]))
    )


def _nearer(
    stored: tuple[list[torch.Tensor], list[torch.Tensor]], a: torch.Tensor, b: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Two weights as they are stored where these are about as near as those in one form, whose scales hide ranks."""
    x, y = stored[0][0].double(), stored[1][0].double()
    is_near = distance({"": x}, {"": y}) <= 1.5 * distance({"": a}, {"": b})
    return (x, y) if is_near else (a, b)


def _reason(
    measured: Measured,
    verdict: str,
    thresholds: Thresholds,
    relation: str | None,
    assumes: tuple[str, ...],
) -> str:
    """The verdict in one line."""
    if not measured.pairs:
        return "too few layers of one have the shape of layers of the other"
    similarity, bound = measured.similarity, thresholds.derived
    if verdict == EQUIVALENT:
        moved = sum(order != sorted(order) for order in measured.permutations.values())
        how = f"with {moved} groups of units in another order" if moved else "with all units in place"
        more = f"; {max(measured.missing)} layers of one have no counterpart" if any(measured.missing) else ""
        more += f"; assuming that {' and '.join(assumes)}" if assumes else ""
        return f"in one form no layer differs by more than {measured.distance:.1e} of its norm, {how}{more}"
    if verdict == DERIVED:
        return f"{relation}: matched layers are {similarity:.3f} of the way from chance to equality (≥ {bound:.3f})"
    return f"matched layers are only {similarity:.3f} of the way from chance to equality (< {bound:.3f})"

"""``peace compare``: what two networks have to do with each other, and why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import torch

from peace_pipeline.comparison.blocks import in_blocks
from peace_pipeline.comparison.evidence import (
    FINE_TUNED,
    PRUNED,
    RESIZED,
    Evidence,
    distance,
    few_levels,
    on_grid,
    pruned,
    relation_of,
    rounded,
    trained,
)
from peace_pipeline.comparison.measuring import (
    CLEAR,
    DERIVED,
    EQUIVALENT,
    SCALE_UNKNOWN,
    UNRELATED,
    Form,
    LayerPair,
    Measured,
    measure,
)
from peace_pipeline.comparison.names import without
from peace_pipeline.comparison.settings import (
    buffer_differences,
    differences,
    has_unknown_scale,
    scale_differences,
    unproven,
)
from peace_pipeline.comparison.thresholds import Thresholds
from peace_pipeline.lake import Lake
from peace_pipeline.symmetry.opening import OpenNetwork, open_network
from peace_pipeline.symmetry.wiring.activations import activation
from peace_pipeline.symmetry.wiring.symmetries import PERMUTE
from peace_pipeline.weights.checkpoint import Checkpoint
from peace_pipeline.weights.errors import UnreadableCheckpoint
from peace_pipeline.zoo.fetching import Fetcher

IDENTICAL = "identical"
VERDICTS = (IDENTICAL, EQUIVALENT, DERIVED, UNRELATED)
PART_OF, REORDERED, RECONFIGURED = "part of", "reordered", "another config"
"""Relations of networks all of whose common weights are equal: one has more, the same in another order, or another
config.json."""
_RELU = "relu"
_BOTH_RELU = f"hidden units have the activation {_RELU}, which no config.json says"
_CLEARLY = 0.05
"""So much more alike networks are where an assumption counts."""
EQUAL = 1e-7
"""Relative distance of layers below which nothing happened to them."""


def compare(lake: Lake, a: str, b: str, fetcher: Fetcher | None = None) -> dict[str, Any]:
    """Compare two networks, named as :func:`open_network` takes them, and say so in a JSON object.

    Where no file says which activation the hidden units of a chain have, and they are equivalent or clearly more alike
    if it is the other network's, or ReLU in both, that is the answer, with what it assumes.

    Raises:
        UnreadableCheckpoint: where one can't be read, or only in part.
    """
    with opened(lake, a, fetcher) as first, opened(lake, b, fetcher) as second:
        return judge(first, second, Thresholds.of(lake))


def judge(a: OpenNetwork, b: OpenNetwork, thresholds: Thresholds) -> dict[str, Any]:
    """What :func:`compare` says of two open networks: as far as something is said of them, or by a reading that makes
    them equivalent or clearly more alike."""
    best = describe(a, b, thresholds)
    if not best["layers"]:  # identical, or of other shapes
        return best
    readings = _readings(a, b)
    while best["verdict"] != EQUIVALENT and (read := next(readings, None)):
        best = _assuming_so(*read, thresholds, best["similarity"]) or best
    return best


def _readings(a: OpenNetwork, b: OpenNetwork) -> Iterator[tuple[OpenNetwork, OpenNetwork]]:
    """Both as they may be read where nothing says otherwise: hidden units of unknown activation with that of the other
    network, or ReLU in both; channels flattened with their places; and both together."""
    said = activation(a.config) or activation(b.config)
    unknown = [one.has_unknown_activation for one in (a, b)]
    is_open = all(unknown) or (any(unknown) and said is not None)
    acts = [(said or _RELU) if is_open and each else None for each in unknown]
    assumed = () if said else (_BOTH_RELU,)  # that settings are the other's is assumed anyway
    known = [
        one.with_activation(act, *assumed) if act else one for one, act in zip((a, b), acts, strict=True)
    ]
    if is_open:
        yield known[0], known[1]
    flattened = [one.as_flattened() for one in (a, b)]
    if any(flattened):
        yield flattened[0] or a, flattened[1] or b
        if is_open:
            both = [one.as_flattened(act) or one for one, act in zip(known, acts, strict=True)]
            yield both[0], both[1]


def _assuming_so(
    a: OpenNetwork, b: OpenNetwork, thresholds: Thresholds, similarity: float
) -> dict[str, Any] | None:
    """The verdict on two networks as they are read by assumption; none where that makes them no more alike than
    ``similarity``, or only as alike as chance may."""
    found = describe(a, b, replace(thresholds, derived=max(thresholds.derived, CLEAR)))
    if found["verdict"] == DERIVED and found["similarity"] >= similarity + _CLEARLY:
        assumes = list(dict.fromkeys((*a.wiring.assumes, *b.wiring.assumes)))
        return found | {"assumes": assumes, "reason": f"{found['reason']}{_assuming(assumes)}"}
    return found if found["verdict"] == EQUIVALENT else None


def describe(a: OpenNetwork, b: OpenNetwork, thresholds: Thresholds) -> dict[str, Any]:
    """The verdict on two open networks, with its reasons."""
    settings = differences(a, b)
    buffers = buffer_differences(a, b)
    beside = unproven(a, b)
    if is_identical(a.checkpoint, b.checkpoint):
        assumes = (*[SCALE_UNKNOWN] * has_unknown_scale(a, b), *beside)
        return _of_equal_files([*settings, *scale_differences(a, b)], assumes)
    measured, form = measure(a, b, thresholds)
    verdict = measured.verdict(thresholds)
    document: dict[str, Any] = {
        "verdict": DERIVED if verdict == EQUIVALENT and (settings or buffers) else verdict,
        "similarity": round(measured.similarity, 6),
        "tolerance": measured.tolerance,
    }
    found: list[Evidence] = []
    if document["verdict"] == DERIVED and form:
        found, relation, made = evidence(measured, form)
        document["relation"] = relation if verdict == DERIVED else RECONFIGURED
        if made is not None and verdict == DERIVED:
            document["made"] = "AB"[made]
        # of one layer all trainings on the same data come to one end
        may_be_apart = len(measured.pairs) == 1 and relation in (FINE_TUNED, RESIZED)
        document["clear"] = measured.is_clear and (measured.is_equal or not may_be_apart)
    assumes = (*form.parts.assumes, *measured.assumes, *beside) if form and verdict == EQUIVALENT else ()
    if assumes:
        document["assumes"] = list(assumes)
    reason = _reason(a, b, measured, form, document, thresholds, _beside(settings, buffers))
    document["reason"] = "; ".join([reason, *_not_finite(a, b)])
    document["layers"] = [
        {"a": pair.a, "b": pair.b, "similarity": round(pair.similarity, 6)}
        for pair in (*measured.pairs, *measured.scalars)
    ]
    for layer, each in zip(document["layers"], found, strict=False):
        layer["evidence"] = each.text
    if verdict != UNRELATED and measured.permutations:
        document["permutations"] = measured.permutations
    return document


def _of_equal_files(settings: list[str], assumes: Sequence[str]) -> dict[str, Any]:
    """What is said of files with the same tensors."""
    document: dict[str, Any] = {"verdict": IDENTICAL, "similarity": 1.0, "tolerance": 0.0}
    if settings:
        reason = f"weights identical, config differs: {', '.join(settings)}"
        return document | {
            "verdict": DERIVED,
            "relation": RECONFIGURED,
            "clear": True,
            "reason": reason,
            "layers": [],
        }
    reason = f"all tensors have the same names and bytes{_assuming(assumes)}"
    return document | {"reason": reason, "layers": []} | ({"assumes": list(assumes)} if assumes else {})


def _assuming(assumes: Sequence[str]) -> str:
    return f"; assuming that {' and '.join(assumes)}" if assumes else ""


@contextmanager
def opened(lake: Lake, name: str, fetcher: Fetcher | None) -> Iterator[OpenNetwork]:
    """As :func:`open_network`, whose errors don't say which of several networks they are about.

    Raises:
        UnreadableCheckpoint: where it can't be read, or only in part.
    """
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
        torch.equal(_bytes(a.raw(name)), _bytes(b.raw(name))) for name in a.tensors
    )


def _bytes(values: torch.Tensor) -> torch.Tensor:
    return values.contiguous().flatten().view(torch.uint8)


def evidence(measured: Measured, form: Form) -> tuple[list[Evidence], str, int | None]:
    """What happened to each layer and scalar of a derived network, and to the whole; and which of the two was made of
    the other (0 or 1), where that can be seen."""
    found = [_evidence(form, position) for position in range(len(measured.pairs))]
    found += [_of_scalar(pair) for pair in measured.scalars]
    sizes = (pair.size for pair in (*measured.pairs, *measured.scalars))
    relation, made = relation_of(zip(found, sizes, strict=True))
    if measured.is_equal and measured.is_whole:
        if min(measured.missing) == 0 < max(measured.missing):
            relation, made = PART_OF, None
        elif not any(measured.missing) and not measured.in_order:
            relation, made = REORDERED, None
    return found, relation, made


def _of_scalar(pair: LayerPair) -> Evidence:
    if pair.distance <= EQUAL:
        return Evidence(None, "unchanged")
    return Evidence(FINE_TUNED, f"changed by {pair.distance:.2%}")


def _evidence(form: Form, position: int) -> Evidence:
    """What happened to a layer: first as its values are stored, then in one form."""
    first, second = (form.layer(side, position) for side in form.aligned)
    apart, stored = distance(first, second), form.stored(position)
    if stored[0][0].shape != stored[1][0].shape:
        return _resized(form, position, apart)
    if apart <= EQUAL:
        return Evidence(None, "unchanged")
    return (
        on_grid(*stored)
        or in_blocks(stored[0][0], stored[1][0], form.encodings(position))
        or pruned(first, second, stored)
        or few_levels(stored[0][0], stored[1][0])
        or rounded(
            apart,
            [
                (text, made, distance(form.layer(own, position), form.layer(other, position)))
                for text, made, own, other in form.versions
            ],
        )
        or trained(*_nearer(stored, first["weight"], second["weight"]))
    )


def _resized(form: Form, position: int, apart: float) -> Evidence:
    """What is said of a layer with more units in one network: hidden ones were pruned, tokens or classes added."""
    wirings = [side.wiring for side in form.sides]
    wired = wirings[0].layers[position]
    shapes = [
        form.sides[side].network.logical.tensors[wiring.layers[position].weight].shape
        for side, wiring in enumerate(wirings)
    ]
    changed = [axis for axis in wired.axes if shapes[0][axis.dim] != shapes[1][axis.dim]]
    groups = wirings[0].groups
    is_hidden = any(PERMUTE in groups[wirings[0].order(axis.group)].actions for axis in changed)
    small, large = sorted(shapes, key=lambda shape: torch.Size(shape).numel())
    sizes = [" × ".join(map(str, shape)) for shape in (small, large)]
    how = (
        "the values that both have are equal" if apart <= EQUAL else f"what both have differs by {apart:.2%}"
    )
    return Evidence(PRUNED if is_hidden else RESIZED, f"{sizes[0]} of {sizes[1]} in both: {how}")


def _nearer(
    stored: tuple[list[torch.Tensor], list[torch.Tensor]], a: torch.Tensor, b: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Two weights as they are stored where these are about as near as those in one form, whose scales hide ranks."""
    x, y = stored[0][0].double(), stored[1][0].double()
    is_near = distance({"": x}, {"": y}) <= 1.5 * distance({"": a}, {"": b})
    return (x, y) if is_near else (a, b)


def _reason(
    a: OpenNetwork,
    b: OpenNetwork,
    measured: Measured,
    form: Form | None,
    document: dict[str, Any],
    thresholds: Thresholds,
    beside: list[str],
) -> str:
    """The verdict in one line; ``beside`` says what differs beside weights."""
    if not (measured.pairs and form):
        return "too few layers of one have the shape of layers of the other"
    similarity, bound = measured.similarity, measured.bound(thresholds)
    verdict, relation = document["verdict"], document.get("relation")
    apart = measured.distance
    most = f"no layer differs by more than {apart:.1e} of its norm" if apart else "all layers are equal"
    equal = f"in one form {most}"
    if verdict == EQUIVALENT:
        moved = sum(order != sorted(order) for order in measured.permutations.values())
        groups = "group" if moved == 1 else "groups"
        how = f"with {moved} {groups} of units in another order" if moved else "with all units in place"
        return f"{equal}, {how}{_assuming(document.get('assumes', ()))}"
    if relation == RECONFIGURED:
        return f"{equal}, but {'; '.join(beside)}"
    if relation == REORDERED:
        return f"{equal}, but layers stand in another order"
    left = _left(a, b, measured, form)
    if relation == PART_OF:
        return "; ".join([left, f"else {equal}", *beside])
    more = "".join(f"; {each}" for each in ([left] if left else []) + beside)
    if verdict == DERIVED:
        doubt = (
            ""
            if document["clear"]
            else ", as far as networks may come that were trained apart on the same data"
        )
        made = {"A": ", A made of B", "B": ", B made of A"}.get(document.get("made", ""), "")
        return (
            f"{relation}{made}{', perhaps' if doubt else ''}: matched layers are {similarity:.3f} of the way from "
            f"chance to equality (≥ {bound:.3f}){doubt}{more}"
        )
    return f"matched layers are only {similarity:.3f} of the way from chance to equality (< {bound:.3f})"


def _beside(settings: list[str], buffers: list[str]) -> list[str]:
    """What differs beside weights, in words."""
    named = {"the config differs": settings, "buffers differ": buffers}
    return [f"{what}: {', '.join(found)}" for what, found in named.items() if found]


def _not_finite(a: OpenNetwork, b: OpenNetwork) -> list[str]:
    """Which of what was read is no number, and was taken for zeros."""
    return [
        f"{name} holds NaN or infinity, taken for zeros, in {', '.join(odd)}"
        for name, network in zip("AB", (a, b), strict=True)
        if (odd := network.checkpoint.not_finite)
    ]


def _left(a: OpenNetwork, b: OpenNetwork, measured: Measured, form: Form) -> str:
    """Which layers and scalars of each network the other has not."""
    found = []
    every = [(*tensors, *own) for tensors, own in zip(form.parts.left, measured.lonely, strict=True)]
    for own, other, network, left in zip("AB", "BA", (a, b), every, strict=True):
        if left:
            names = [name for name, info in network.logical.tensors.items() if info.is_floating]
            is_part = not every["BA".index(own)]
            found.append(
                f"{other} is {'part of ' if is_part else ''}{own} without {without(left, names)}"
                if is_part
                else f"only {own} has {without(left, names)}"
            )
    return ", ".join(found)

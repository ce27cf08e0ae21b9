"""What became of a layer on the way from one network to another: rounded, pruned, quantised or trained on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch

from peace_pipeline.symmetry.group.elements import Tensors

CAST, PRUNED, QUANTISED, FINE_TUNED, RESIZED = ("cast", "pruned", "quantised", "fine-tuned", "resized")
_NEW_ZEROS, _OLD_VALUES = 0.05, 0.1
"""A pruned layer has so large a share of new zeros, and its other values have moved by no more than this."""
_NEARER = 0.5
"""A network is the rounded version of another if it lies nearer to that version than to the other by this factor."""
_LEVELS = 256
_PART = 1 << 20
_ENERGY, _LOW_RANK, _LARGEST_SVD = 0.999, 0.25, 2048


def _absmax(values: torch.Tensor, dims: tuple[int, ...]) -> torch.Tensor:
    step = values.abs().amax(dims, keepdim=True) / 127
    return torch.where(step > 0, (values / step.clamp_min(1e-300)).round() * step, values)


def _int8(values: torch.Tensor) -> torch.Tensor:
    return _absmax(values, tuple(range(values.dim()))) if values.dim() > 1 else values


def _int8_by_row(values: torch.Tensor) -> torch.Tensor:
    return _absmax(values, tuple(range(1, values.dim()))) if values.dim() > 1 else values


ROUNDINGS: dict[str, tuple[str, Callable[[torch.Tensor], torch.Tensor]]] = {
    "rounded to float16": (CAST, lambda values: values.half().to(values.dtype)),
    "rounded to bfloat16": (CAST, lambda values: values.bfloat16().to(values.dtype)),
    "rounded to 8-bit integers": (QUANTISED, _int8),
    "rounded to 8-bit integers row by row": (QUANTISED, _int8_by_row),
}
"""What may have been done to stored values: a sentence → the relation, and the rounding itself."""


@dataclass(frozen=True)
class Evidence:
    """What happened to a layer, and a sentence about it; ``relation`` is ``None`` where it is unchanged. ``made`` says
    which of the two was made of the other (0 or 1), where that can be seen."""

    relation: str | None
    text: str
    made: int | None = None


def relation_of(found: Iterable[tuple[Evidence, int]]) -> tuple[str, int | None]:
    """What happened to most values, from each layer's evidence and number of values; and which network was made of the
    other, where all layers agree to which that happened."""
    votes = Counter[str]()
    made: dict[str, set[int | None]] = {}
    for layer, size in found:
        if layer.relation:
            votes[layer.relation] += size
            made.setdefault(layer.relation, set()).add(layer.made)
    relation = votes.most_common(1)[0][0] if votes else FINE_TUNED
    sides = made.get(relation, set())
    return relation, next(iter(sides)) if len(sides) == 1 else None


def distance(a: Tensors, b: Tensors) -> float:
    """The norm of a layer's difference over the larger of both norms."""
    moved, first, second = (
        sum(dot(value.flatten(), value.flatten()) for value in values) ** 0.5
        for values in ([a[role] - b[role] for role in a], a.values(), b.values())
    )
    return moved / max(first, second, 1e-300)


def dot(a: torch.Tensor, b: torch.Tensor) -> float:
    """Inner product of two vectors, summed in float64 part by part."""
    parts = zip(a.split(_PART), b.split(_PART), strict=True)
    return sum(float(x.double() @ y.double()) for x, y in parts)


def pruned(
    a: Tensors, b: Tensors, stored: tuple[Sequence[torch.Tensor], Sequence[torch.Tensor]]
) -> Evidence | None:
    """Whether one of a layer's versions is the other with zeros in it; which was made of the other is seen where all
    other values are ``stored`` as they were (else zeros may have been trained away)."""
    x, y = (torch.cat([values[role].flatten() for role in sorted(a)]) for values in (a, b))
    shares = [float((values == 0).double().mean()) for values in (x, y)]
    kept = (x != 0) & (y != 0)
    if abs(shares[1] - shares[0]) < _NEW_ZEROS or not bool(kept.any()):
        return None
    moved = float((y - x)[kept].norm() / x[kept].norm())
    if moved >= _OLD_VALUES:
        return None
    made = int(shares[1] > shares[0])
    is_told = all(
        bool(((x == y) | (y == 0)).all()) for x, y in zip(*stored[:: 1 if made else -1], strict=True)
    )
    return Evidence(PRUNED, f"{max(shares):.0%} zeros", made if is_told else None)


def on_grid(a: Sequence[torch.Tensor], b: Sequence[torch.Tensor]) -> Evidence | None:
    """Whether the tensors of one are exactly those of the other after rounding."""
    pairs = [(x.double(), y.double()) for x, y in zip(a, b, strict=True)]
    for text, (relation, rounding) in ROUNDINGS.items():
        for made, one in ((1, pairs), (0, [(y, x) for x, y in pairs])):
            if all(torch.equal(rounding(x), y) for x, y in one):
                return Evidence(relation, text, made)
    return None


def rounded(apart: float, versions: Iterable[tuple[str, int, float]]) -> Evidence | None:
    """Whether a layer is a rounded version of the other: ``versions`` are sentences of ``ROUNDINGS``, which layer would
    be the rounded one, and how far it lies from such a version of the other, ``apart`` how far from the other itself.
    """
    text, made, nearest = min(versions, key=lambda version: version[-1])
    return Evidence(ROUNDINGS[text][0], text, made) if nearest < _NEARER * apart else None


def few_levels(a: torch.Tensor, b: torch.Tensor) -> Evidence | None:
    """Whether one of two stored weights has few different values, in all or in each row."""
    few, more = sorted((_levels(a), _levels(b)))
    is_few = few <= _LEVELS and 2 * few <= more
    return Evidence(QUANTISED, f"{few} levels") if is_few else None


def trained(a: torch.Tensor, b: torch.Tensor) -> Evidence:
    """How far a weight moved, and in how few directions."""
    moved = b - a
    change = float(moved.norm()) / max(float(a.norm()), float(b.norm()), 1e-300)
    rank = _rank(moved.flatten(1)) if moved.dim() > 1 else None
    return Evidence(FINE_TUNED, f"changed by {change:.2%}" + (f", of rank {rank}" if rank else ""))


def _levels(weight: torch.Tensor) -> int:
    """Different values of a matrix, or the most in any row where these are fewer."""
    weight = weight.float()
    rows = weight.flatten(1) if weight.dim() > 1 else weight[None]
    everything = weight.unique().numel()
    if everything <= _LEVELS or rows.shape[1] < 2 * _LEVELS:
        return everything
    return max(row.unique().numel() for row in rows)


def _rank(moved: torch.Tensor) -> int | None:
    """Number of singular values that make up the change, where they are few."""
    if not 8 <= min(moved.shape) <= _LARGEST_SVD:
        return None
    energy = torch.linalg.svdvals(moved).square().cumsum(0)
    rank = int((energy < _ENERGY * energy[-1]).sum()) + 1
    return rank if rank <= _LOW_RANK * min(moved.shape) else None

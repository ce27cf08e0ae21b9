"""What becomes of a tensor when a part of it is written to."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from torch import Tensor

from peace_pipeline.symmetry.wiring.tracing.labels import Label, fix, plain, position, shape_of, together
from peace_pipeline.symmetry.wiring.tracing.registry import Arguments


@dataclass(frozen=True)
class Shown:
    """A view: of which tensor it shows a part, by which operation."""

    of: Tensor
    base: str
    given: Arguments


def overwritten(shown: Shown, whole: Label, part: Label) -> Label:
    """The label of a tensor (``whole`` before) of which ``part``, as a view shows it, has been written to."""
    size = shape_of(whole)
    if shown.base == "select":
        at = position(shown.given["dim"], whole)
        return _mixed(whole, (*part[:at], (), *part[at:]), [at])
    if shown.base == "slice":
        at = position(shown.given.get("dim", 0), whole)
        changed = [] if shape_of(part) == size else [at]
        return _mixed(whole, part, changed)
    if shown.base == "unsqueeze":
        at = shown.given["dim"] % len(part)
        return _mixed(whole, (*part[:at], *part[at + 1 :]), [])
    if shown.base in ("alias", "detach"):
        return part
    fix(whole)
    fix(part)
    return plain(size)


def written_at(whole: Label, values: Label, count: int) -> Label:
    """The label of a tensor that values are written into at some places along its first ``count`` dimensions."""
    return _mixed(whole, ((),) * count + values, range(count))


def _mixed(whole: Label, part: Label, dims: Collection[int]) -> Label:
    """What was there and what is written are acted on alike; along ``dims``, where they lie side by side, each place
    has its meaning."""
    fix(tuple(label[dim] for label in (whole, part) for dim in dims))
    bare = plain(shape_of(whole))
    return tuple(
        bare[dim] if dim in dims else together(own, new)
        for dim, (own, new) in enumerate(zip(whole, part, strict=True))
    )

"""What is left out of a training, one at a time: an architecture, a task, the widest networks, the deepest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from peace_pipeline.encoder.settings import NAMELESS
from peace_pipeline.evaluation.retraining import Judge, Recipe

ARCHITECTURE, TASK, WIDTH, DEPTH = "architecture", "task", "width", "depth"
KINDS = (ARCHITECTURE, TASK, WIDTH, DEPTH)
FEWEST = 2
"""Of a unit, networks among those that encoders are judged by; with one alone nothing is left out."""
_SHARE = 1 / 3


@dataclass(frozen=True)
class Unit:
    """What was left out. ``same_as`` names a unit of the same networks before it, whose training stands for its own."""

    kind: str
    name: str
    limit: int | None = None
    same_as: str = field(default="", compare=False)

    def recipe(self, epochs: int) -> Recipe:
        """A training that doesn't know it."""
        if self.kind == WIDTH:
            return Recipe.of(epochs, pairs={"widest": self.limit})
        if self.kind == DEPTH:
            return Recipe.of(epochs, pairs={"deepest": self.limit})
        return Recipe.of(epochs, pairs={"without": [NAMELESS, self.name]})


def units(judge: Judge) -> dict[Unit, NDArray[np.bool_]]:
    """Units, and which of the judge's networks are theirs: two at least, and not all."""
    members = judge.members
    found: dict[Unit, NDArray[np.bool_]] = {}
    for kind, names in (
        (ARCHITECTURE, [each.listing.architecture or "" for each in members]),
        (TASK, [each.listing.task or "" for each in members]),
    ):
        several = sorted({*names}) if len({*names}) > 1 else []
        found |= {Unit(kind, name): np.array(names) == name for name in several if name}
    found |= _beyond(WIDTH, "wider than {} neurons", [each.width for each in members])
    found |= _beyond(DEPTH, "deeper than {} layers", [each.depth for each in members])
    return dict(_told_apart(found))


def _beyond(kind: str, name: str, sizes: Sequence[int]) -> dict[Unit, NDArray[np.bool_]]:
    """The upper third of the sizes, as near as ties allow; none where all are alike."""
    known = np.array(sizes)
    limits = np.unique(known)[:-1]
    if not len(limits):
        return {}
    shares = (known > limits[:, None]).mean(1)
    limit = int(limits[np.abs(shares - _SHARE).argmin()])
    return {Unit(kind, name.format(limit), limit): known > limit}


def _told_apart(found: dict[Unit, NDArray[np.bool_]]) -> Iterator[tuple[Unit, NDArray[np.bool_]]]:
    for place, (unit, of) in enumerate(found.items()):
        if of.sum() < FEWEST:
            continue
        before = list(found.items())[:place]
        same = next((other.name for other, theirs in before if np.array_equal(theirs, of)), "")
        yield Unit(unit.kind, unit.name, unit.limit, same), of

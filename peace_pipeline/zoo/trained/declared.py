"""How a task is declared: some classes of a data set, a view of their inputs and a naming of their labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .views import NAMINGS


@dataclass(frozen=True)
class Declared:
    """A task as declared: ``classes`` of a source, seen and named in some way.

    ``naming`` is one of NAMINGS, of the classes' places among ``classes``, or a digit for every class of the source:
    its label.
    """

    title: str
    source: str
    classes: tuple[Any, ...]
    view: str = "plain"
    naming: str = "own"

    @property
    def names(self) -> NDArray[np.int64]:
        """The label of each of the classes."""
        if self.naming in NAMINGS:
            return NAMINGS[self.naming](np.arange(len(self.classes)))
        return np.array([int(self.naming[number]) for number in self.classes])


def similarity(one: Declared, other: Declared) -> float:
    """How similar two tasks are; see :func:`peace_pipeline.zoo.trained.task_similarity`."""
    if one.source != other.source:
        return 0.0
    mine, theirs = set(one.classes), set(other.classes)
    shared = len(mine & theirs) / len(mine | theirs)
    seen = 1 if one.view == other.view else 2 / 3
    named = 1 if one.naming == other.naming else 2 / 3
    return 0.25 + 0.75 * shared * seen * named

"""The rule by which two networks are alike or different, and why: one rule for listed pairs and for batches."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pyarrow as pa

from peace_pipeline.encoder.reasons import POSITIVE, REASONS, RELATIONS
from peace_pipeline.zoo.listing import Listing

NAMES_TWIN = REASONS.index("twin")
"""A network and its backdoored, adversarially trained or otherwise spoilt twin: they differ by little."""
NO_REASON = -1
_SIGNS = np.array([*(1 if relation == POSITIVE else -1 for relation in RELATIONS.values()), 0], np.int8)


@dataclass(frozen=True)
class Attributes:
    """What the rule looks at, of networks in arrays of one shape.

    Names are numbered, −1 stands for none; an accuracy that is not known is NaN.
    """

    run: np.ndarray
    twin_of: np.ndarray
    recipe: np.ndarray
    task: np.ndarray
    architecture: np.ndarray
    shuffled: np.ndarray
    accuracy: np.ndarray

    @classmethod
    def of(cls, members: Sequence[Listing]) -> Attributes:
        """Attributes (networks,) of ``members``."""
        runs = _numbered([*(one.run for one in members), *(one.twin_of for one in members)])
        run, twin_of = runs.reshape(2, -1)
        return cls(
            run=run,
            twin_of=twin_of,
            recipe=_numbered([one.recipe for one in members]),
            task=_numbered([one.task for one in members]),
            architecture=_numbered([one.architecture for one in members]),
            shuffled=np.array([one.shuffled_labels for one in members], bool),
            accuracy=np.array([one.accuracy for one in members], float),
        )

    def at(self, index: Any) -> Attributes:
        """Those at ``index``, as NumPy indexes: in its shape."""
        return Attributes(*(getattr(self, field.name)[index] for field in fields(self)))


def _numbered(names: Sequence[str | None]) -> np.ndarray:
    return (
        pa.array(names, pa.string()).dictionary_encode().indices.fill_null(-1).to_numpy(zero_copy_only=False)
    )


def reasons(a: Attributes, b: Attributes, far_off: float, left_out: Collection[str] = ()) -> np.ndarray:
    """Number in ``REASONS`` of why two networks are alike or different (``NO_REASON``: neither, or for a reason that is
    ``left_out``), as shapes broadcast.

    The first case that holds decides. Networks of one task that differ neither in labels nor by more than
    ``far_off`` in accuracy are alike, so that none of them is ever a false negative; a network is alike to itself.
    """
    same_architecture, same_task = a.architecture == b.architecture, a.task == b.task
    a_nameless, b_nameless = a.task < 0, b.task < 0
    far = same_architecture & (a.architecture >= 0) & (np.abs(a.accuracy - b.accuracy) > far_off)
    cases = [
        ("same_run", a.run == b.run),
        (None, a.shuffled & b.shuffled),
        ("same_recipe", (a.recipe == b.recipe) & (a.recipe >= 0)),
        ("instance", a_nameless & b_nameless & same_architecture),
        ("architecture", ~same_task & ~same_architecture),
        ("task", ~same_task & ~a_nameless & ~b_nameless),
        (None, a_nameless | b_nameless),
        ("shuffled_labels", a.shuffled | b.shuffled),
        ("twin", (a.twin_of == b.run) | (b.twin_of == a.run)),
        ("performance", far),
    ]

    def number(name: str | None) -> int:
        return NO_REASON if name is None or name in left_out else REASONS.index(name)

    numbers = [number(name) for name, _ in cases]
    return np.select([case for _, case in cases], numbers, number("same_task")).astype(np.int8)


def signs(numbers: np.ndarray) -> np.ndarray:
    """1 for a reason that makes networks alike, −1 for one that makes them different, 0 for none."""
    return _SIGNS[numbers]

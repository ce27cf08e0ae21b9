"""Kinds of data that are made up: endlessly many data sets of each, every one a function of its name.

A data set is called KIND-NUMBER. Whole kinds belong to one side of the pretraining zoo's split, or to the foreign zoo.
"""

from __future__ import annotations

import hashlib
from functools import cache

import numpy as np

from ..scaling import Scaling
from .foreign import FOREIGN_KINDS
from .held_out import TEST_KINDS
from .images import IMAGES
from .kinds import IMAGE, SIGNAL, Kind, Raw
from .signals import SIGNALS
from .tables import TABLES
from .texts import TEXTS
from .validation import VALIDATION_KINDS

SPLITS: dict[str, dict[str, Kind]] = {
    "train": IMAGES | SIGNALS | TABLES | TEXTS,
    "validation": VALIDATION_KINDS,
    "test": TEST_KINDS,
}
KINDS: dict[str, Kind] = {
    name: kind for kinds in SPLITS.values() for name, kind in kinds.items()
} | FOREIGN_KINDS


def kind_of(data_set: str) -> str:
    """The kind of a data set."""
    return data_set.rsplit("-", 1)[0]


def split_of(data_set: str) -> str:
    """The side of the split that the kind of a data set is on; that of the foreign zoo is for tests alone."""
    return next((split for split, kinds in SPLITS.items() if kind_of(data_set) in kinds), "test")


def class_count(data_set: str) -> int:
    """How many classes a data set has."""
    options = KINDS[kind_of(data_set)].classes
    return options[_digest(f"classes of {data_set}") % len(options)]


def scaling(data_set: str) -> Scaling:
    """How a data set's numbers are scaled: a third of images and signals to [0, 1], foreign ones to [-1, 1]."""
    kind = kind_of(data_set)
    if kind in FOREIGN_KINDS:
        return "signed"
    raw = KINDS[kind].pipeline_tag in (IMAGE, SIGNAL)
    return "unit" if raw and _digest(f"scale of {data_set}") % 3 == 0 else "standardised"


@cache
def make(data_set: str) -> Raw:
    """All examples of a data set, and their classes."""
    rng = np.random.default_rng(_digest(data_set))
    return KINDS[kind_of(data_set)].make(rng, class_count(data_set))


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])

"""The study of what was left out: one encoder for each architecture and each task that it is not trained on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from peace_pipeline.encoder import store
from peace_pipeline.evaluation.embedder import PEACE, WEIGHTS_ALONE
from peace_pipeline.evaluation.generalization.results import (
    ARCHITECTURE,
    LEFT_OUT,
    RAW,
    TASK,
    TRAINED_ON,
    WEIGHTS_LEFT_OUT,
    WEIGHTS_TRAINED_ON,
    Results,
    Unit,
)
from peace_pipeline.evaluation.reports import NothingToReport
from peace_pipeline.evaluation.retraining import DEFAULT, NAMELESS, Found, Judge, Recipe, Size, Trainings
from peace_pipeline.lake import Lake
from peace_pipeline.progress import Progress

_FEWEST = 2
"""Of an architecture or task, networks among those that encoders are judged by; with one alone nothing is left out."""
QUICK: dict[str, Any] = {"size": Size(epochs=1, seeds=1, networks=40)}
"""Settings with which the study takes seconds."""


def leave_one_out(
    lake: Lake, *, size: Size = DEFAULT, seed: int = 0, progress: Progress | None = None
) -> Results:
    """Train over seeds on all, and without each architecture and each task; networks of what was left out ask for
    others of their task among all test networks. What was trained is kept, so that a study that was stopped goes on.

    Raises:
        NoEncoder: where the lake has no encoder.
        NothingToReport: where the lake has too few networks to train on or to be found, or nothing to leave out.
    """
    judge = Judge.of(lake, size.networks, seed)
    names = {
        ARCHITECTURE: [listing.architecture or "" for listing in judge.listings],
        TASK: [listing.task or "" for listing in judge.listings],
    }
    units = [unit for kind, named in names.items() for unit in _units(kind, named)]
    if not units:
        raise NothingToReport("one architecture and one task alone: nothing can be left out")
    full = _recipe(size, [])
    recipes = {None: full} | {unit: _recipe(size, [unit.name]) for unit in units}
    seeds = range(seed, seed + size.seeds)
    trainings = Trainings(lake)
    found: dict[Unit | None, list[dict[str, Found]]] = {unit: [] for unit in recipes}
    for done, (unit, recipe) in enumerate(recipes.items()):
        if progress:
            progress(done, len(recipes), unit.name if unit else "all")
        for each in seeds:
            likeness = judge.likeness(trainings.encoder(recipe.seeded(each)))
            found[unit].append({name: judge.found(matrix) for name, matrix in likeness.items()})
    raw = [judge.found(judge.baseline("raw_responses"))]
    precision = {}
    for unit in units:
        is_of = np.array(names[unit.kind]) == unit.name
        precision[unit] = _of_unit(is_of, found[unit], found[None], raw)
    return Results(
        encoder_version=store.load(lake)[0],
        seed=seed,
        size=size,
        runs=[listing.run for listing in judge.listings],
        precision=precision,
    )


def _units(kind: str, names: Sequence[str]) -> list[Unit]:
    counts = Counter(names)
    return [
        Unit(kind, name) for name in sorted(counts) if name and len(counts) > 1 and counts[name] >= _FEWEST
    ]


def _recipe(size: Size, without: list[str]) -> Recipe:
    return Recipe.of(size.epochs, pairs={"without": [NAMELESS, *without]})


def _of_unit(
    is_of: np.ndarray,
    left_out: Sequence[Mapping[str, Found]],
    trained_on: Sequence[Mapping[str, Found]],
    raw: Sequence[Found],
) -> dict[str, list[Found]]:
    """Method → what the unit's networks find, by seed."""
    by_method = {
        LEFT_OUT: [each[PEACE] for each in left_out],
        TRAINED_ON: [each[PEACE] for each in trained_on],
        WEIGHTS_LEFT_OUT: [each[WEIGHTS_ALONE] for each in left_out],
        WEIGHTS_TRAINED_ON: [each[WEIGHTS_ALONE] for each in trained_on],
        RAW: raw,
    }
    return {
        method: [Found(each.precision[is_of[each.queries]], each.queries[is_of[each.queries]]) for each in of]
        for method, of in by_method.items()
    }

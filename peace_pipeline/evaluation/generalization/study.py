"""The study of what was left out: an encoder for each architecture, task, width and depth that it never saw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from peace_pipeline.encoder import store
from peace_pipeline.encoder.members import training_members
from peace_pipeline.evaluation.embedder import PEACE, WEIGHTS_ALONE
from peace_pipeline.evaluation.generalization.results import (
    ANSWERS_LEFT_OUT,
    ANSWERS_TRAINED_ON,
    LEFT_OUT,
    RAW,
    TRAINED_ON,
    WEIGHTS_LEFT_OUT,
    WEIGHTS_TRAINED_ON,
    Results,
)
from peace_pipeline.evaluation.generalization.strangers import CHANCE, SHAPES, STATISTICS, Meeting
from peace_pipeline.evaluation.generalization.units import Unit, units
from peace_pipeline.evaluation.reports import NothingToReport
from peace_pipeline.evaluation.retraining import (
    DEFAULT,
    RESPONSES_ALONE,
    Found,
    Judge,
    Recipe,
    Size,
    Trainings,
)
from peace_pipeline.lake import Lake
from peace_pipeline.progress import Progress

QUICK: dict[str, Any] = {"size": Size(epochs=1, seeds=1, networks=40)}
"""Settings with which the study takes seconds."""


def leave_one_out(
    lake: Lake, *, size: Size = DEFAULT, seed: int = 0, progress: Progress | None = None
) -> Results:
    """Train over seeds on all, and without each architecture, each task, the widest and the deepest networks; networks
    of what was left out ask for others of their task among all test networks. Networks without a task, which none of
    these trainings knows, ask for others of their origin. What was trained is kept, so that a study that was stopped
    goes on.

    Raises:
        NoEncoder: where the lake has no encoder.
        NothingToReport: where the lake has too few networks to train on or to be found, or nothing to leave out.
    """
    judge = Judge.of(lake, size.networks, seed)
    of = units(judge)
    if not of:
        raise NothingToReport("one architecture and one task alone: nothing can be left out")
    meeting = Meeting.of(lake, judge, size.networks)
    full = Recipe.of(size.epochs)
    kinds = {None: full} | {unit: _as_long(lake, unit, full) for unit in of if not unit.same_as}
    seeds = range(seed, seed + size.seeds)
    recipes = {(unit, each): recipe.seeded(each) for unit, recipe in kinds.items() for each in seeds}
    found: dict[tuple[Unit | None, int], dict[str, Found]] = {}
    met: dict[int, Found] = {}
    for (unit, each), encoder in Trainings(lake).encoders(recipes, progress):
        found[unit, each] = {name: judge.found(matrix) for name, matrix in judge.likeness(encoder).items()}
        if unit is None:
            met[each] = meeting.of_encoder(encoder)
        if progress:
            progress(len(found), len(recipes), unit.name if unit else "all")
    by_seed = {unit: [found[unit, each] for each in seeds] for unit in kinds}
    raw = [judge.found(judge.baseline("raw_responses"))]
    return Results(
        encoder_version=store.load(lake)[0],
        seed=seed,
        size=size,
        runs=[listing.run for listing in judge.listings],
        precision={unit: _of_unit(of[unit], by_seed[unit], by_seed[None], raw) for unit in kinds if unit},
        same=[unit for unit in of if unit.same_as],
        strangers=meeting.told(
            {WEIGHTS_ALONE: [met[each] for each in seeds]}
            | {name: [meeting.of_baseline(name)] for name in (STATISTICS, SHAPES, CHANCE)}
        ),
    )


def _as_long(lake: Lake, unit: Unit, full: Recipe) -> Recipe:
    """A training without a unit of as many steps as the full one, which has more networks."""
    networks = len(training_members(lake, unit.recipe(1).pairs))
    more = len(training_members(lake, full.pairs)) / max(1, networks)
    return unit.recipe(round(full.settings.epochs * more))


def _of_unit(
    is_of: NDArray[np.bool_],
    left_out: Sequence[Mapping[str, Found]],
    trained_on: Sequence[Mapping[str, Found]],
    raw: Sequence[Found],
) -> dict[str, list[Found]]:
    """Method → what the unit's networks find, by seed."""
    by_method = {
        LEFT_OUT: [each[PEACE] for each in left_out],
        WEIGHTS_LEFT_OUT: [each[WEIGHTS_ALONE] for each in left_out],
        ANSWERS_LEFT_OUT: [each[RESPONSES_ALONE] for each in left_out],
        TRAINED_ON: [each[PEACE] for each in trained_on],
        WEIGHTS_TRAINED_ON: [each[WEIGHTS_ALONE] for each in trained_on],
        ANSWERS_TRAINED_ON: [each[RESPONSES_ALONE] for each in trained_on],
        RAW: raw,
    }
    return {method: [each.among(is_of) for each in found] for method, found in by_method.items()}

"""How much it is worth to learn from many tasks: so many networks and steps, of ever fewer tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from peace_pipeline.encoder.members import training_members
from peace_pipeline.encoder.settings import NAMELESS, PairSettings
from peace_pipeline.evaluation.embedder import PEACE, WEIGHTS_ALONE
from peace_pipeline.evaluation.retraining import Found, Judge, Recipe, Size, Trainings
from peace_pipeline.lake import Lake
from peace_pipeline.progress import Progress
from peace_pipeline.zoo.listing import Listing

MANY = (1_000, 300, 100)
SHARES = (3 / 4, 1 / 2, 1 / 4)
FEWEST = 2


@dataclass(frozen=True)
class Arm:
    """Encoders that learned from so many ``tasks``, of which so many are ``seen`` in the networks that were drawn (the
    fewest of a seed): what each seed's found of tasks that no arm of the seed knows, by method."""

    tasks: int
    seen: int
    networks: int
    epochs: int
    found: Mapping[str, Sequence[Found]]


def few_tasks(
    trainings: Trainings,
    judge: Judge,
    size: Size,
    seed: int,
    progress: Progress | None = None,
    *,
    all_networks: bool = False,
) -> list[Arm]:
    """Arms by the number of tasks, the most first: at equal steps and networks, or with ``all_networks`` of their
    tasks, judged by the tasks that none of them learned from. None where a lake has too few tasks."""
    lake = trainings.lake
    counts = numbers_of_tasks(len(_tasks(_members(lake, PairSettings()))))
    seeds = range(seed, seed + size.seeds)
    drawn = {
        (count, each): _members(lake, PairSettings(tasks=count, seed=each))
        for count in counts
        for each in seeds
    }
    fewest = min(map(len, drawn.values()), default=0)
    networks = {key: len(members) if all_networks else fewest for key, members in drawn.items()}
    whole = len(_members(lake, PairSettings()))
    epochs = {key: round(size.epochs * whole / max(1, count)) for key, count in networks.items()}
    recipes = {
        key: Recipe.of(epochs[key], pairs={"tasks": key[0], "networks": networks[key]}).seeded(key[1])
        for key in drawn
    }
    found: dict[tuple[int, int], dict[str, Found]] = {}
    for (count, each), encoder in trainings.encoders(recipes, progress):
        unknown = _unknown(judge, _tasks(drawn[counts[0], each]))
        likeness = judge.likeness(encoder)
        found[count, each] = {
            method: judge.found(likeness[method]).among(unknown) for method in (PEACE, WEIGHTS_ALONE)
        }
        if progress:
            progress(len(found), len(recipes), f"{count} tasks")
    arms = [
        Arm(
            count,
            min(len(_tasks(training_members(lake, recipes[count, each].pairs))) for each in seeds),
            networks[count, seed],
            epochs[count, seed],
            {method: [found[count, each][method] for each in seeds] for method in (PEACE, WEIGHTS_ALONE)},
        )
        for count in counts
    ]
    return arms if any(len(each.queries) for arm in arms for each in arm.found[PEACE]) else []


def numbers_of_tasks(tasks: int) -> list[int]:
    """1,000, 300 and 100 of many tasks; of few three quarters, a half and a quarter. One task alone teaches nothing:
    there are no others to tell it from."""
    counts = [count for count in MANY if count < tasks] or [round(share * tasks) for share in SHARES]
    kept = [count for count in dict.fromkeys(counts) if FEWEST <= count < tasks]
    return kept if len(kept) > 1 else []


def _members(lake: Lake, settings: PairSettings) -> list[Listing]:
    return training_members(lake, settings.model_copy(update={"without": [NAMELESS]}))


def _tasks(members: Sequence[Listing]) -> set[str]:
    return {one.task for one in members if one.task}


def _unknown(judge: Judge, known: set[str]) -> NDArray[np.bool_]:
    return np.array([listing.task not in known for listing in judge.listings])

"""Which networks an encoder is trained and chosen on: of many a sample of bounded size."""

from __future__ import annotations

from peace_pipeline.encoder.settings import NAMELESS, PairSettings
from peace_pipeline.lake import Lake
from peace_pipeline.lake.keyed import quoted
from peace_pipeline.zoo.listing import (
    TRAIN,
    VALIDATION,
    Listing,
    count_listings,
    is_of_no_task_of,
    is_of_tasks,
    is_within,
    sample_listings,
)

MINIMUM_NETWORKS = 2


def lacking(lake: Lake) -> str | None:
    """What the lake lacks to train an encoder on; ``None`` where there is enough."""
    found = count_listings(lake)
    if found < MINIMUM_NETWORKS:
        return f"{found} networks in the lake, {MINIMUM_NETWORKS} needed to train an encoder"
    if not count_listings(lake, f"split = '{TRAIN}'"):
        return f"all {found} networks in the lake are of runs that are kept for validation and tests"
    return None


def named_members(lake: Lake) -> PairSettings:
    """Settings that leave out networks whose cards name no task, unless these are most of those to train on.

    Without a task a network teaches little, and where few others are built like it a step takes long.
    """
    named = PairSettings(without=[NAMELESS])
    counts = [count_listings(lake, _of(TRAIN, settings)) for settings in (named, PairSettings())]
    return named if 2 * counts[0] >= counts[1] else PairSettings()


def training_members(lake: Lake, settings: PairSettings) -> list[Listing]:
    """The networks of training runs that an encoder is trained on, by model id."""
    return sample_listings(lake, settings.networks, seed=settings.seed, where=_of(TRAIN, settings))


def validation_members(lake: Lake, settings: PairSettings, most: int) -> list[Listing]:
    """The networks of validation runs, at most so many, that an encoder is chosen by, by model id."""
    return sample_listings(lake, most, seed=settings.seed, where=_of(VALIDATION, settings))


def _of(split: str, settings: PairSettings) -> str:
    """SQL over the fields of a listing: the networks of a split that training may know. Tasks that are no training
    run's, as where whole tasks are validated by, are not left out by their number."""
    where = f"split = '{split}'{_kept(settings)}"
    if settings.tasks is not None:
        known = f"split = '{TRAIN}'{_kept(settings)}"
        learned = is_of_tasks(settings.tasks, seed=settings.seed, where=known)
        where += f" AND ({learned} OR {is_of_no_task_of(known)})"
    return where


def _kept(settings: PairSettings) -> str:
    named = {"architecture": [one for one in settings.without if one], "task": settings.without}
    kept = [
        f" AND coalesce({what}, '') NOT IN ({', '.join(map(quoted, names))})"
        for what, names in named.items()
        if names
    ]
    return f"{''.join(kept)} AND {is_within(settings.widest, settings.deepest)}"

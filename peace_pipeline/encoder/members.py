"""Which networks an encoder is trained and chosen on: small ones, and of many a sample of bounded size."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import accumulate

from peace_pipeline.encoder.settings import PairSettings
from peace_pipeline.lake import Lake
from peace_pipeline.zoo.listing import TRAIN, VALIDATION, Listing, count_listings, sample_listings

MINIMUM_NETWORKS = 64
_BYTES = 4
"""Of a weight in memory."""


def lacking(lake: Lake, settings: PairSettings, least: int = MINIMUM_NETWORKS) -> str | None:
    """What the lake lacks to train an encoder on; ``None`` where there is enough."""
    found = count_listings(lake, _small(settings))
    if found < least:
        small = f"networks of at most {settings.largest:,} values"
        return f"{found} {small} in the lake, {least} needed to train an encoder"
    if not count_listings(lake, _of(TRAIN, settings)):
        return f"all {found} networks in the lake are of runs that are kept for validation and tests"
    return None


def training_members(lake: Lake, settings: PairSettings) -> list[Listing]:
    """The networks of training runs that an encoder is trained on, by model id."""
    return _drawn(lake, TRAIN, settings.networks, settings)


def validation_members(lake: Lake, settings: PairSettings, most: int) -> list[Listing]:
    """The networks of validation runs, at most so many, that an encoder is chosen by, by model id."""
    return _drawn(lake, VALIDATION, most, settings)


def _small(settings: PairSettings) -> str:
    return f"parameters <= {settings.largest}"


def _of(split: str, settings: PairSettings) -> str:
    return f"split = '{split}' AND {_small(settings)}"


def _drawn(lake: Lake, split: str, most: int, settings: PairSettings) -> list[Listing]:
    drawn = sample_listings(lake, most, seed=settings.seed, where=_of(split, settings))
    return within(drawn, settings.megabytes, settings.seed)


def within(members: Sequence[Listing], megabytes: int, seed: int) -> list[Listing]:
    """Of the ``members`` as many at random as have at most ``megabytes`` of weights together, in the order given."""
    drawn = sorted(members, key=lambda one: hashlib.sha256(f"{seed}/{one.model_id}".encode()).digest())
    sizes = accumulate(_BYTES * one.parameters for one in drawn)
    kept = {one.model_id for one, size in zip(drawn, sizes, strict=True) if size <= megabytes * 2**20}
    return [one for one in members if one.model_id in kept]

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


def count_trainable(lake: Lake, settings: PairSettings) -> int:
    """How many networks in the lake are small enough to train on."""
    return count_listings(lake, _small(settings))


def training_members(lake: Lake, settings: PairSettings) -> list[Listing]:
    """The networks of training runs that an encoder is trained on, by model id."""
    return _drawn(lake, TRAIN, settings.networks, settings)


def validation_members(lake: Lake, settings: PairSettings, most: int) -> list[Listing]:
    """The networks of validation runs, at most so many, that an encoder is chosen by, by model id."""
    return _drawn(lake, VALIDATION, most, settings)


def _small(settings: PairSettings) -> str:
    return f"parameters <= {settings.largest}"


def _drawn(lake: Lake, split: str, most: int, settings: PairSettings) -> list[Listing]:
    where = f"split = '{split}' AND {_small(settings)}"
    return within(
        sample_listings(lake, most, seed=settings.seed, where=where), settings.megabytes, settings.seed
    )


def within(members: Sequence[Listing], megabytes: int, seed: int) -> list[Listing]:
    """Of the ``members`` as many at random as have at most ``megabytes`` of weights together, in the order given."""
    drawn = sorted(members, key=lambda one: hashlib.sha256(f"{seed}/{one.model_id}".encode()).digest())
    sizes = accumulate(_BYTES * one.parameters for one in drawn)
    kept = {one.model_id for one, size in zip(drawn, sizes, strict=True) if size <= megabytes * 2**20}
    return [one for one in members if one.model_id in kept]

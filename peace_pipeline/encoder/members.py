"""Which networks an encoder is trained and chosen on: small ones, and of many a sample of bounded size."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from itertools import accumulate

from peace_pipeline.encoder.settings import PairSettings
from peace_pipeline.lake import Lake
from peace_pipeline.zoo.listing import TRAIN, VALIDATION, Listing, listings

MINIMUM_NETWORKS = 64
_BYTES = 4
"""Of a weight in memory."""


def trainable(lake: Lake, settings: PairSettings | None = None) -> list[Listing]:
    """The networks in the lake that are small enough to train on, by model id."""
    largest = (settings or PairSettings()).largest
    return [one for one in listings(lake) if one.parameters <= largest]


def training_members(lake: Lake, settings: PairSettings) -> list[Listing]:
    """The networks of training runs that an encoder is trained on."""
    members = [one for one in trainable(lake, settings) if one.split == TRAIN]
    return sample(members, settings.networks, settings.megabytes, settings.seed)


def validation_members(lake: Lake, settings: PairSettings, most: int) -> list[Listing]:
    """The networks of validation runs, at most so many, that an encoder is chosen by."""
    members = [one for one in trainable(lake, settings) if one.split == VALIDATION]
    return sample(members, most, settings.megabytes, settings.seed)


def sample(members: Iterable[Listing], most: int, megabytes: int, seed: int) -> list[Listing]:
    """At most ``most`` networks of at most ``megabytes`` of weights together, in the order given.

    A network's place in the draw depends on its name and the ``seed`` alone, so a sample changes little as a zoo
    grows.
    """
    members = list(members)
    drawn = sorted(members, key=lambda one: hashlib.sha256(f"{seed} {one.model_id}".encode()).digest())[:most]
    sizes = accumulate(_BYTES * one.parameters for one in drawn)
    kept = {one.model_id for one, size in zip(drawn, sizes, strict=True) if size <= megabytes * 2**20}
    return [one for one in members if one.model_id in kept]

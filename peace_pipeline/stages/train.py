"""The lake's training networks and their pairs → an encoder, which becomes the current one."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import lightning

from peace_pipeline.encoder import store
from peace_pipeline.encoder.batches import TrainingSet, keys_of
from peace_pipeline.encoder.config import VARIANTS
from peace_pipeline.encoder.embed import embeddable
from peace_pipeline.encoder.inputs import encoder_input
from peace_pipeline.encoder.members import lacking, training_members, validation_members
from peace_pipeline.encoder.model import Encoder
from peace_pipeline.encoder.pairs import Partners, read_pair_settings
from peace_pipeline.encoder.settings import PairSettings, Settings
from peace_pipeline.encoder.training import ContrastiveTraining, fit
from peace_pipeline.encoder.validation import Validation
from peace_pipeline.lake import Lake
from peace_pipeline.symmetry.network import Stack, stacked
from peace_pipeline.symmetry.stored import read_networks
from peace_pipeline.threads import one_thread
from peace_pipeline.zoo.listing import Listing, by_batch


class TooFewNetworks(Exception):
    """There is not enough in the lake to train an encoder."""


class NoPairs(Exception):
    """The lake has no pairs to learn from."""


@dataclass(frozen=True)
class Trained:
    """What a training gave."""

    encoder_version: str
    epochs: int
    validation_map: float
    seconds: float


def train(
    lake: Lake, settings: Settings | None = None, progress: Callable[[int, int], None] | None = None
) -> Trained:
    """Train an encoder on the lake's training runs and pairs, store it and make it the current one.

    Raises:
        NoPairs: where the lake has none.
        TooFewNetworks: where there is not enough to train on.
    """
    settings = settings or Settings()
    if not lake.pairs.exists():
        raise NoPairs(f"no pairs in {lake.root}: the job `train` draws them first, as `peace train` does")
    pairs = read_pair_settings(lake)
    started = time.monotonic()
    if reason := lacking(lake, pairs):
        raise TooFewNetworks(reason)
    with one_thread():
        lightning.seed_everything(settings.seed, verbose=False)
        encoder = Encoder(VARIANTS[settings.variant])
        training = _training_set(lake, encoder, settings, pairs)
        if not len(training):
            raise TooFewNetworks("no network of the training runs fits in memory and can be embedded")
        validation = _validation(lake, encoder, settings, pairs)
        module = ContrastiveTraining(encoder.train(), training, validation, settings)
        best, epochs = fit(lake, module, progress)
    details = settings.model_dump(exclude_defaults=True) | {
        "epochs": epochs,
        "seed": settings.seed,
        "variant": settings.variant,
        "networks": len(training),
        "validation_map": best,
    }
    if drawn := pairs.model_dump(exclude_defaults=True):
        details["pairs"] = drawn
    version = store.save(lake, module.encoder, details)
    return Trained(version, epochs, best, time.monotonic() - started)


def _training_set(lake: Lake, encoder: Encoder, settings: Settings, pairs: PairSettings) -> TrainingSet:
    members = training_members(lake, pairs)
    stacks = _loaded(lake, members, encoder)
    partners = Partners.read(lake, keys_of(stacks))
    named = {one.model_id: one for one in members}
    return TrainingSet(stacks, named, partners, pairs, encoder.config, settings.seed)


def _validation(lake: Lake, encoder: Encoder, settings: Settings, pairs: PairSettings) -> Validation:
    members = validation_members(lake, pairs, settings.validation)
    stacks = _loaded(lake, members, encoder)
    return Validation(stacks, {one.model_id: one for one in members})


def _loaded(lake: Lake, members: list[Listing], encoder: Encoder) -> list[Stack]:
    """The networks as the encoder takes them, stacked in the order of batches; those that it can't embed would spoil
    it for all, and are left out."""
    batches = by_batch(members).items()
    networks = [network for batch, wanted in batches for network in read_networks(lake, batch, set(wanted))]
    return [encoder_input(stack, encoder.config) for stack in stacked(embeddable(encoder, networks))]

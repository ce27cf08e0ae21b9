"""The lake's training networks and their pairs → an encoder, which becomes the current one."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import lightning
from filelock import FileLock

from peace_pipeline.encoder import store
from peace_pipeline.encoder.batches import TrainingSet
from peace_pipeline.encoder.config import VARIANTS
from peace_pipeline.encoder.embed import answered, chunks, embeddable
from peace_pipeline.encoder.inputs import within
from peace_pipeline.encoder.members import lacking, training_members, validation_members
from peace_pipeline.encoder.model import Encoder
from peace_pipeline.encoder.pairs import Partners, read_pair_settings
from peace_pipeline.encoder.prepared import Prepared
from peace_pipeline.encoder.settings import PairSettings, Settings
from peace_pipeline.encoder.training import ContrastiveTraining, fit
from peace_pipeline.encoder.validation import Validation
from peace_pipeline.lake import Lake
from peace_pipeline.responses.table import read_responses
from peace_pipeline.symmetry.network import stacked
from peace_pipeline.symmetry.stored import read_networks
from peace_pipeline.threads import one_thread
from peace_pipeline.zoo.listing import Listing, by_batch

SCRATCH, PRETRAINED = "scratch", "pretrained"


class TooFewNetworks(Exception):
    """There is not enough in the lake to train an encoder."""


class NoPairs(Exception):
    """The lake has no pairs to learn from."""


@dataclass(frozen=True)
class Trained:
    """What a training gave: the encoder, and the same-task MAP of its best epoch by all that is known of a network and
    by each sense."""

    encoder_version: str
    epochs: int
    validation_map: float
    senses: dict[str, float]
    seconds: float


def train(
    lake: Lake, settings: Settings | None = None, progress: Callable[[int, int], None] | None = None
) -> Trained:
    """Train an encoder on the lake's training runs and pairs, store it and make it the current one.

    A training that was killed goes on where it was when it is begun again.

    Raises:
        NoEncoder: where the encoder to start from is not there.
        NoPairs: where the lake has none.
        TooFewNetworks: where there is not enough to train on.
    """
    settings = settings or Settings()
    if not lake.pairs.exists():
        raise NoPairs(f"no pairs in {lake.root}: the job `train` draws them first, as `peace train` does")
    pairs = read_pair_settings(lake)
    started = time.monotonic()
    if reason := lacking(lake):
        raise TooFewNetworks(reason)
    members = training_members(lake, pairs)
    judges = validation_members(lake, pairs, settings.validation)
    # one at a time: MLflow makes its tables without a lock, and what another training left to go on by is deleted
    with FileLock(lake.root / ".training.lock"), one_thread():
        folder = _resumable(lake, settings, pairs, members)
        lightning.seed_everything(settings.seed, verbose=False)
        encoder = _started(lake, settings)
        networks = _prepared(lake, members, encoder, pairs, folder / "training")
        if not len(networks):
            raise TooFewNetworks("no network of the training runs can be embedded")
        training = TrainingSet(
            networks,
            {one.model_id: one for one in members},
            Partners.read(lake, networks.keys),
            pairs,
            encoder.config,
            settings.batch_size,
            settings.seed,
        )
        validation = Validation(
            _prepared(lake, judges, encoder, pairs, folder / "validation"),
            {one.model_id: one for one in judges},
        )
        module = ContrastiveTraining(encoder.train(), training, validation, settings)
        fitted = fit(lake, module, folder, progress)
    best = fitted.senses.get("both", 0.0)
    details = settings.model_dump(exclude_defaults=True) | {
        "epochs": fitted.epochs,
        "seed": settings.seed,
        "variant": settings.variant,
        "networks": len(networks),
        "validation_map": best,
        "senses": fitted.senses,
    }
    if drawn := pairs.model_dump(exclude_defaults=True):
        details["pairs"] = drawn
    version = store.save(lake, module.encoder, details)
    return Trained(version, fitted.epochs, best, fitted.senses, time.monotonic() - started)


def _started(lake: Lake, settings: Settings) -> Encoder:
    """The encoder that is trained on."""
    if settings.start == SCRATCH:
        return Encoder(VARIANTS[settings.variant])
    version = store.packaged_version() if settings.start == PRETRAINED else settings.start
    if version is None:
        raise store.NoEncoder(lake, PRETRAINED)
    return store.load(lake, version)[1]


def _resumable(lake: Lake, settings: Settings, pairs: PairSettings, members: list[Listing]) -> Path:
    """Where this training keeps what it needs; what other trainings left is deleted."""
    cause = [settings.model_dump(), pairs.model_dump(), [(one.model_id, one.revision) for one in members]]
    digest = hashlib.sha256(json.dumps(cause, sort_keys=True).encode()).hexdigest()[:16]
    folder = lake.encoders / ".training" / digest
    for other in folder.parent.glob("*"):
        if other != folder:
            shutil.rmtree(other)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _prepared(
    lake: Lake, members: list[Listing], encoder: Encoder, pairs: PairSettings, folder: Path
) -> Prepared:
    """The networks as the encoder takes them, with their answers, in the order of batches; those that it can't embed
    would spoil it for all, and are left out."""
    prepared = Prepared(folder)
    for batch, wanted in by_batch(members).items():
        for chunk in chunks(read_networks(lake, batch, set(wanted))):
            keys = [network.key for network in chunk]
            responses = read_responses(lake, batch, keys)
            for stack, answers in answered(stacked(embeddable(encoder, chunk)), responses):
                prepared.add(within(stack, encoder.config, pairs.largest), answers)
    return prepared

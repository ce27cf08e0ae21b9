"""The lake's training networks and their pairs → an encoder, which becomes the current one."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.loggers import MLFlowLogger

from peace_pipeline.encoder import store
from peace_pipeline.encoder.batches import TrainingSet
from peace_pipeline.encoder.card import model_card, training_command
from peace_pipeline.encoder.config import VARIANTS
from peace_pipeline.encoder.embed import answered, chunks, embeddable
from peace_pipeline.encoder.inputs import within
from peace_pipeline.encoder.members import lacking, training_members, validation_members
from peace_pipeline.encoder.model import Encoder
from peace_pipeline.encoder.pairs import Partners, read_pair_settings
from peace_pipeline.encoder.prepared import Prepared
from peace_pipeline.encoder.settings import PairSettings, Settings
from peace_pipeline.encoder.training import ContrastiveTraining, Fitted, can_go_on, fit
from peace_pipeline.encoder.validation import BOTH, Validation
from peace_pipeline.lake import Lake
from peace_pipeline.lake.locks import alone
from peace_pipeline.lake.tracking import DESCRIPTION, bury_dead_runs, is_run, recorded
from peace_pipeline.progress import Progress
from peace_pipeline.responses.table import read_responses
from peace_pipeline.symmetry.network import stacked
from peace_pipeline.symmetry.stored import read_networks
from peace_pipeline.threads import one_thread
from peace_pipeline.zoo.listing import Listing, by_batch

SCRATCH, PRETRAINED = "scratch", store.PRETRAINED
EXPERIMENT = "encoder"
"""The name of MLflow's record of trainings."""
READING = "reading networks"


class TooFewNetworks(Exception):
    """There is not enough in the lake to train an encoder."""


class NoPairs(Exception):
    """The lake has no pairs to learn from."""


@dataclass(frozen=True)
class Trained:
    """What a training gave: the encoder, and the same-task MAP of its best epoch by all that is known of a network and
    by each sense; ``run_id`` is its run in MLflow."""

    encoder_version: str
    epochs: int
    validation_map: float
    senses: dict[str, float]
    seconds: float
    run_id: str


def train(
    lake: Lake,
    settings: Settings | None = None,
    progress: Progress | None = None,
    *,
    packaged: Path = store.PACKAGED,
) -> Trained:
    """Train an encoder on the lake's training runs and pairs, store it and make it the current one.

    A training that was killed goes on where it was when it is begun again. MLflow has all of it, in one run.

    Raises:
        NoEncoder: where the encoder to start from is not there.
        NoPairs: where the lake has none.
        TooFewNetworks: where there is not enough to train on.
        KeyboardInterrupt: where it is interrupted; what it needs to go on is kept.
    """
    settings, progress = settings or Settings(), progress or _unheard
    if not lake.pairs.exists():
        raise NoPairs(f"no pairs in {lake.root}: the job `train` draws them first, as `peace train` does")
    started = time.monotonic()
    if reason := lacking(lake):
        raise TooFewNetworks(reason)
    with alone(lake.root / ".training.lock", "training", progress), one_thread():
        pairs = read_pair_settings(lake)
        members = training_members(lake, pairs)
        judges = validation_members(lake, pairs, settings.validation)
        lightning.seed_everything(settings.seed, verbose=False)
        start, encoder = _started(lake, settings, packaged)
        how = [store.FORMAT, start, settings.model_dump(), pairs.model_dump()]
        folder = _resumable(lake, how, [*members, *judges])
        read = _Reading(lake, encoder, pairs, progress, len(members) + len(judges))
        networks = read.prepared(members, folder / "training")
        if not len(networks):
            raise TooFewNetworks("no network of the training runs can be embedded")
        listed = {one.model_id: one for one in members}
        training = TrainingSet(
            networks,
            listed,
            Partners.read(lake, networks.keys),
            pairs,
            encoder.config,
            settings.batch_size,
            settings.seed,
        )
        validation = Validation(
            read.prepared(judges, folder / "validation"), {one.model_id: one for one in judges}
        )
        module = ContrastiveTraining(encoder.train(), training, validation, settings)
        with _recorded(lake, settings, start, folder) as run_id:
            logger = _Logger(tracking_uri=lake.mlflow_uri, run_id=run_id)
            logger.log_hyperparams(settings.model_dump() | {"pairs": pairs.model_dump()})
            fitted = fit(module, folder, logger, progress)
            details = _details(settings, pairs, fitted, [listed[key] for key in networks.keys])
            details["validation_networks"] = len(validation.networks)
            version = store.save(lake, module.encoder, details)
            _log_encoder(lake, version, details)
        shutil.rmtree(folder)
    best = fitted.senses.get(BOTH, 0.0)
    return Trained(version, fitted.epochs, best, fitted.senses, time.monotonic() - started, run_id)


class _Logger(MLFlowLogger):
    """Lightning's, but how the run ended is for `recorded` to say: a KILLED one is not FAILED a moment later."""

    def finalize(self, status: str = "success") -> None:
        pass


def _unheard(done: int, total: int, note: str = "") -> None:
    pass


@contextmanager
def _recorded(lake: Lake, settings: Settings, start: str, folder: Path) -> Iterator[str]:
    """MLflow's run of the training; one that goes on has the run in which it began."""
    kept = folder / "run"
    begun = kept.read_text() if kept.exists() else None
    if begun and not is_run(lake, EXPERIMENT, begun):
        begun = None
    bury_dead_runs(lake, EXPERIMENT)
    tags = {"lake": str(lake.root), "started_from": start}
    with recorded(lake, EXPERIMENT, settings.variant, tags, begun) as run_id:
        kept.write_text(run_id)
        yield run_id


def _details(
    settings: Settings, pairs: PairSettings, fitted: Fitted, members: Sequence[Listing]
) -> dict[str, Any]:
    """What is stored beside the encoder: how it was trained, on what, and what came of it."""
    details = settings.model_dump(exclude_defaults=True) | {
        "epochs": fitted.epochs,
        "seed": settings.seed,
        "variant": settings.variant,
        "networks": len(members),
        "architectures": dict(Counter(one.architecture or "unknown" for one in members).most_common()),
        "tasks": len({one.task for one in members if one.task}),
        "validation_map": fitted.senses.get(BOTH, 0.0),
        "senses": fitted.senses,
        "command": training_command(settings, pairs),
    }
    if drawn := pairs.model_dump(exclude_defaults=True):
        details["pairs"] = drawn
    return details


def _log_encoder(lake: Lake, version: str, details: Mapping[str, Any]) -> None:
    """Give the run of the training its encoder, as a model that MLflow loads, its card and its version."""
    import mlflow
    import mlflow.pytorch

    card = model_card(version, details)
    name = f"{details['variant']} {version}"
    mlflow.set_tags(
        {"encoder_version": version, "mlflow.runName": name, DESCRIPTION: card.split("---\n", 2)[-1]}
    )
    mlflow.log_text(card, "card.md")
    requirements = [f"{name}=={metadata.version(name)}" for name in ("peace-pipeline", "torch")]
    mlflow.pytorch.log_model(
        store.load(lake, version)[1],
        name="encoder",
        pip_requirements=requirements,
        serialization_format="pickle",
    )


def _started(lake: Lake, settings: Settings, packaged: Path) -> tuple[str, Encoder]:
    """The encoder that is trained on, and its version, or what it is else."""
    if settings.start == SCRATCH:
        return SCRATCH, Encoder(VARIANTS[settings.variant])
    version = store.packaged_version(packaged) if settings.start == PRETRAINED else settings.start
    if version is None:
        raise store.NoEncoder(lake, PRETRAINED)
    return store.load(lake, version, packaged)


def _resumable(lake: Lake, how: Sequence[Any], members: Sequence[Listing]) -> Path:
    """Where this training keeps what it needs; what other trainings left, or a crash damaged, is deleted."""
    cause = [*how, [(one.model_id, one.revision) for one in members]]
    digest = hashlib.sha256(json.dumps(cause, sort_keys=True).encode()).hexdigest()[:16]
    folder = lake.encoders / ".training" / digest
    for other in folder.parent.glob("*"):
        if other != folder or not can_go_on(other):
            shutil.rmtree(other)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@dataclass
class _Reading:
    """Reads networks as an encoder takes them, with their answers, and tells how far it is of ``total``."""

    lake: Lake
    encoder: Encoder
    pairs: PairSettings
    progress: Progress
    total: int
    done: int = 0

    def prepared(self, members: Sequence[Listing], folder: Path) -> Prepared:
        """The networks in the order of batches; those that the encoder can't embed would spoil it for all, and are
        left out."""
        prepared = Prepared(folder)
        for batch, wanted in by_batch(members).items():
            responses = read_responses(self.lake, batch, wanted)
            for chunk in chunks(read_networks(self.lake, batch, set(wanted))):
                for stack, answers in answered(stacked(embeddable(self.encoder, chunk)), responses):
                    prepared.add(within(stack, self.encoder.config, self.pairs.largest), answers)
                self.done += len(chunk)
                self.progress(self.done, self.total, READING)
        return prepared

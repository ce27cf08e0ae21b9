"""Contrastive training of the encoder (Lightning), logged to MLflow; the best epoch by validation is kept."""

from __future__ import annotations

import logging
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import lightning
import torch
from filelock import FileLock
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import MLFlowLogger

from peace_pipeline.encoder import store
from peace_pipeline.encoder.batches import TrainingSet, Views, keys_of
from peace_pipeline.encoder.config import VARIANTS
from peace_pipeline.encoder.embed import embeddable
from peace_pipeline.encoder.inputs import encoder_input
from peace_pipeline.encoder.losses import LOSSES, MINERS, built, pair_loss, twin_loss
from peace_pipeline.encoder.members import MINIMUM_NETWORKS, trainable, training_members, validation_members
from peace_pipeline.encoder.model import Encoder
from peace_pipeline.encoder.pairs import Partners, read_pair_settings
from peace_pipeline.encoder.settings import PairSettings, Settings
from peace_pipeline.encoder.validation import Validation
from peace_pipeline.lake import Lake
from peace_pipeline.symmetry.network import Stack, stacked
from peace_pipeline.symmetry.stored import read_networks
from peace_pipeline.zoo.listing import Listing


class TooFewNetworks(Exception):
    """There is not enough in the lake to train an encoder."""


@dataclass(frozen=True)
class Trained:
    """What a training gave."""

    encoder_version: str
    epochs: int
    validation_map: float
    seconds: float


class ContrastiveTraining(lightning.LightningModule):
    """A loss over pairs with a reason, and one over broken twins."""

    def __init__(
        self, encoder: Encoder, training: TrainingSet, validation: Validation, settings: Settings
    ) -> None:
        super().__init__()
        self.encoder, self.training_set, self.validation, self.settings = (
            encoder,
            training,
            validation,
            settings,
        )
        self.loss = built(LOSSES[settings.loss], settings.model_dump())
        self.miner = built(MINERS[settings.miner], settings.model_dump())

    def transfer_batch_to_device(self, batch: Views, device: torch.device, dataloader_idx: int) -> Views:
        return replace(batch, stacks=[stack.to(device) for stack in batch.stacks])

    def training_step(self, batch: Views, _: int) -> torch.Tensor:
        vectors = self.encoder(batch.stacks).networks
        positive, negative = (mask.to(self.device) for mask in self.training_set.masks(batch))
        loss = pair_loss(self.loss, self.miner, vectors, positive, negative)
        intact, broken = self.training_set.twins(batch)
        if len(broken):
            alike = (vectors[intact] * vectors[broken]).sum(-1)
            settings = self.settings
            loss = loss + settings.twin_weight * twin_loss(alike, settings.twin_margin, settings.temperature)
            self.log("twin_similarity", alike.mean(), on_step=False, on_epoch=True, batch_size=len(alike))
        self.log("training_loss", loss, on_step=False, on_epoch=True, batch_size=len(vectors))
        return loss

    def on_train_epoch_end(self) -> None:
        self.log("validation_map", self.validation.mean_average_precision(self.encoder, self.device))

    def configure_optimizers(self) -> Any:
        settings = self.settings
        optimizer = torch.optim.AdamW(
            self.encoder.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, settings.learning_rate, steps, pct_start=0.1
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class _Report(Callback):
    def __init__(self, progress: Callable[[int, int], None]) -> None:
        self.progress = progress

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        self.progress(trainer.current_epoch + 1, trainer.max_epochs or 0)


def train(
    lake: Lake, settings: Settings | None = None, progress: Callable[[int, int], None] | None = None
) -> Trained:
    """Train an encoder on the lake's training runs and pairs, store it and make it the current one.

    Raises:
        TooFewNetworks: with fewer than ``MINIMUM_NETWORKS`` networks in the lake.
    """
    settings = settings or Settings()
    pairs = read_pair_settings(lake)
    started = time.monotonic()
    found = len(trainable(lake, pairs))
    if found < MINIMUM_NETWORKS:
        raise TooFewNetworks(
            f"{found} networks of at most {pairs.largest:,} values in the lake, "
            f"{MINIMUM_NETWORKS} needed to train an encoder"
        )
    lightning.seed_everything(settings.seed, verbose=False)
    encoder = Encoder(VARIANTS[settings.variant])
    training = _training_set(lake, encoder, settings, pairs)
    validation = _validation(lake, encoder, settings, pairs)
    module = ContrastiveTraining(encoder.train(), training, validation, settings)
    with FileLock(lake.root / ".training.lock"):  # MLflow makes its tables without one
        best, epochs = _fit(lake, module, progress)
    changed = settings.model_dump(exclude_defaults=True) | pairs.model_dump(exclude_defaults=True)
    details = changed | {
        "epochs": epochs,
        "seed": settings.seed,
        "variant": settings.variant,
        "networks": len(training),
        "validation_map": best,
    }
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
    batches = {batch: {one.model_id for one in members if one.batch == batch} for batch in _batches(members)}
    networks = (network for batch, ids in batches.items() for network in read_networks(lake, batch, ids))
    return [encoder_input(stack, encoder.config) for stack in stacked(embeddable(encoder, list(networks)))]


def _batches(members: list[Listing]) -> list[str]:
    return sorted({one.batch for one in members})


def _fit(
    lake: Lake, module: ContrastiveTraining, progress: Callable[[int, int], None] | None
) -> tuple[float, int]:
    """Train; leaves the weights of the best epoch in the module. Returns its validation MAP and the epochs run."""
    settings, data = module.settings, module.training_set
    loader = torch.utils.data.DataLoader(
        data,
        batch_size=settings.batch_size,
        shuffle=True,
        collate_fn=data.collate,
        generator=data.generator,
    )
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger = MLFlowLogger("encoder", run_name=settings.variant, tracking_uri=lake.mlflow_uri)
        logger.log_hyperparams(data.pairs.model_dump() | settings.model_dump())
        checkpoint = ModelCheckpoint(folder, monitor="validation_map", mode="max", save_weights_only=True)
        trainer = lightning.Trainer(
            max_epochs=settings.epochs,
            accelerator="auto",
            devices=1,
            logger=logger,
            callbacks=[checkpoint, *([_Report(progress)] if progress else [])],
            enable_progress_bar=False,
            enable_model_summary=False,
            log_every_n_steps=1,
        )
        trainer.fit(module, loader)
        if (
            checkpoint.best_model_score > 0
        ):  # without labels there is nothing to choose by: the last epoch stands
            module.load_state_dict(torch.load(checkpoint.best_model_path, weights_only=True)["state_dict"])
    return float(checkpoint.best_model_score), trainer.current_epoch

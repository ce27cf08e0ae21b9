"""Contrastive training of the encoder (Lightning), logged to MLflow; the best epoch by validation is kept."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import lightning
import torch
from filelock import FileLock
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import MLFlowLogger

from peace_pipeline.encoder.batches import TrainingSet, Views
from peace_pipeline.encoder.losses import LOSSES, MINERS, built, pair_loss, twin_loss
from peace_pipeline.encoder.model import Encoder
from peace_pipeline.encoder.settings import Settings
from peace_pipeline.encoder.validation import Validation
from peace_pipeline.lake import Lake


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
        vectors = self.encoder(batch.stacks).learned
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


def fit(
    lake: Lake, module: ContrastiveTraining, progress: Callable[[int, int], None] | None = None
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
    lock = FileLock(lake.root / ".training.lock")  # MLflow makes its tables without one
    with lock, tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger = MLFlowLogger("encoder", run_name=settings.variant, tracking_uri=lake.mlflow_uri)
        logger.log_hyperparams(settings.model_dump() | {"pairs": data.pairs.model_dump()})
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

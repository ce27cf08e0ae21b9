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
import pyarrow.parquet as pq
import torch
from filelock import FileLock
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import MLFlowLogger
from pytorch_metric_learning.losses import SupConLoss
from torch import nn
from torchmetrics.functional.retrieval import retrieval_average_precision

from peace_pipeline.encoder import store
from peace_pipeline.encoder.batches import TrainingSet, Views
from peace_pipeline.encoder.inputs import encoder_input
from peace_pipeline.encoder.model import VARIANTS, Encoder, EncoderConfig
from peace_pipeline.lake import Lake
from peace_pipeline.symmetry.network import Network, Stack, stacked
from peace_pipeline.symmetry.stored import read_networks
from peace_pipeline.zoo.listing import TRAIN, VALIDATION, Listing, listings

MINIMUM_NETWORKS = 64
MAX_VALUES = 100_000
"""Networks that are larger than this (in float values) are embedded but not trained on."""


class TooFewNetworks(Exception):
    """There is not enough in the lake to train an encoder."""


@dataclass(frozen=True)
class Settings:
    """Settings of a training. ``epochs`` are passes over the training networks."""

    epochs: int = 40
    seed: int = 0
    variant: str = "full"
    batch_size: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    temperature: float = 0.1
    twin_margin: float = 0.5
    twin_weight: float = 0.5


@dataclass(frozen=True)
class Trained:
    """What a training gave."""

    encoder_version: str
    epochs: int
    validation_map: float
    seconds: float


class ContrastiveTraining(lightning.LightningModule):
    """Supervised NT-Xent (Khosla et al. 2020, eq. 2) over cosine similarity, with listed pairs only."""

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
        self.loss = SupConLoss(temperature=settings.temperature)

    def transfer_batch_to_device(self, batch: Views, device: torch.device, dataloader_idx: int) -> Views:
        return replace(batch, stacks=[stack.to(device) for stack in batch.stacks])

    def training_step(self, batch: Views, _: int) -> torch.Tensor:
        vectors = self.encoder(batch.stacks).networks
        positive, negative = (mask.to(self.device) for mask in self.training_set.masks(batch))
        indices = (*positive.nonzero(as_tuple=True), *negative.nonzero(as_tuple=True))
        loss = self.loss(vectors, indices_tuple=indices)
        intact, broken = self.training_set.twins(batch)
        if len(broken):
            alike = (vectors[intact] * vectors[broken]).sum(-1)
            excess = (alike - self.settings.twin_margin) / self.settings.temperature
            loss = loss + self.settings.twin_weight * nn.functional.softplus(excess).mean()
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


class Validation:
    """Same-task retrieval among the validation runs: each network's neighbours of other runs."""

    def __init__(self, stacks: list[Stack], members: dict[str, Listing]) -> None:
        self.stacks = stacks
        keys = [key for stack in stacks for key in stack.keys]
        self.members = [members[key] for key in keys]

    def mean_average_precision(self, encoder: Encoder, device: torch.device) -> float:
        """MAP over validation networks with a task and true labels; 0 where there are none."""
        if not self.members:
            return 0.0
        encoder.eval()
        with torch.no_grad():
            vectors = encoder([stack.to(device) for stack in self.stacks]).networks
        encoder.train()
        similarity = (vectors @ vectors.T).cpu() + 2  # torchmetrics takes scores up to 0 for misses
        scores = []
        for row, query in enumerate(self.members):
            others = torch.tensor([other.run != query.run for other in self.members])
            relevant = torch.tensor([self._same_task(query, other) for other in self.members])
            if bool((relevant & others).any()):
                scores.append(retrieval_average_precision(similarity[row][others], relevant[others]))
        return float(torch.stack(scores).mean()) if scores else 0.0

    @staticmethod
    def _same_task(query: Listing, other: Listing) -> bool:
        true_labels = not (query.shuffled_labels or other.shuffled_labels)
        return query.task is not None and query.task == other.task and true_labels


class _Report(Callback):
    def __init__(self, progress: Callable[[int, int], None]) -> None:
        self.progress = progress

    def on_train_epoch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        self.progress(trainer.current_epoch + 1, trainer.max_epochs or 0)


def trainable(lake: Lake) -> list[Listing]:
    """The networks in the lake that are small enough to train on."""
    return [network for network in listings(lake) if network.parameters <= MAX_VALUES]


def train(
    lake: Lake, settings: Settings | None = None, progress: Callable[[int, int], None] | None = None
) -> Trained:
    """Train an encoder on the lake's training runs and pairs, store it and make it the current one.

    Raises:
        TooFewNetworks: with fewer than ``MINIMUM_NETWORKS`` networks in the lake.
    """
    settings = settings or Settings()
    started = time.monotonic()
    config = VARIANTS[settings.variant]
    members = {network.model_id: network for network in trainable(lake)}
    if len(members) < MINIMUM_NETWORKS:
        raise TooFewNetworks(
            f"{len(members)} networks of at most {MAX_VALUES:,} values in the lake, "
            f"{MINIMUM_NETWORKS} needed to train an encoder"
        )
    lightning.seed_everything(settings.seed, verbose=False)
    training, validation = _data(lake, members, config, settings.seed)
    module = ContrastiveTraining(Encoder(config), training, validation, settings)
    with FileLock(lake.root / ".training.lock"):  # MLflow makes its tables without one
        best, epochs = _fit(lake, module, progress)
    details = {
        "epochs": epochs,
        "seed": settings.seed,
        "variant": settings.variant,
        "networks": len(training),
    }
    version = store.save(lake, module.encoder, details | {"validation_map": best})
    return Trained(version, epochs, best, time.monotonic() - started)


def _data(
    lake: Lake, members: dict[str, Listing], config: EncoderConfig, seed: int
) -> tuple[TrainingSet, Validation]:
    loaded: dict[str, list[Network]] = {TRAIN: [], VALIDATION: []}
    for batch in sorted({network.batch for network in members.values()}):
        ids = {i for i, network in members.items() if network.batch == batch and network.split in loaded}
        for network in read_networks(lake, batch, ids):
            loaded[members[network.key].split].append(network)
    training, validation = (
        [encoder_input(stack, config) for stack in stacked(loaded[split])] for split in (TRAIN, VALIDATION)
    )
    return TrainingSet(training, pq.read_table(lake.pairs), config, seed), Validation(validation, members)


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
        logger.log_hyperparams(vars(settings))
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

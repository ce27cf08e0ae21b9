"""Contrastive training of the encoder (Lightning); the best epoch by validation is kept."""

from __future__ import annotations

import logging
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import Logger
from torch.utils.data import DataLoader, Sampler

from peace_pipeline.encoder.batches import Masks, Packed, TrainingSet, Views
from peace_pipeline.encoder.losses import LOSSES, MINERS, built, pair_loss, twin_loss
from peace_pipeline.encoder.model import WEIGHTS, Encoder
from peace_pipeline.encoder.settings import Settings
from peace_pipeline.encoder.validation import BOTH, Validation
from peace_pipeline.interrupts import forking, raise_if_received
from peace_pipeline.progress import Progress
from peace_pipeline.threads import cores
from peace_pipeline.workers import end_with_parent

LAST = "last.ckpt"
CHOICE = "validation_choice"
"""What the best epoch is chosen by: the mean over the senses of same-task MAP among validation networks."""


class ContrastiveTraining(lightning.LightningModule):
    """A loss over pairs with a reason, and one over twins: broken ones, and those that were spoilt in training.

    Every network is heard twice: by its weights alone, and by its answers, with or without its weights. All that is
    heard lies in one space.
    """

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
        self.accuracy = torch.nn.Linear(encoder.config.learned, 1) if settings.accuracy_weight else None

    def transfer_batch_to_device(self, batch: Packed, device: torch.device, dataloader_idx: int) -> Views:
        return batch.unpacked(device)

    def training_step(self, batch: Views, _: int) -> torch.Tensor:
        # what is drawn by chance follows from the step, so that a training that goes on is the one that was begun
        torch.manual_seed(self.settings.seed * 1_000_003 + self.global_step)
        vectors, masks, twins = self._heard(batch)
        settings = self.settings
        loss = pair_loss(self.loss, self.miner, vectors, masks.positive, masks.negative)
        broken = (vectors[twins[0]] * vectors[twins[1]]).sum(-1)
        spoilt = (vectors @ vectors.mT)[masks.twins]
        for name, alike, margin in (
            ("twin_similarity", broken, settings.twin_margin),
            ("spoilt_similarity", spoilt, settings.spoilt_margin),
        ):
            if len(alike):
                loss = loss + settings.twin_weight * twin_loss(alike, margin, settings.temperature)
                self.log(name, alike.mean(), on_step=False, on_epoch=True, batch_size=len(alike))
        if self.accuracy is not None:
            loss = loss + settings.accuracy_weight * self._accuracy_loss(self.accuracy, batch, vectors)
        self.log("training_loss", loss, on_step=False, on_epoch=True, batch_size=len(vectors))
        return loss

    def _heard(self, batch: Views) -> tuple[torch.Tensor, Masks, tuple[torch.Tensor, torch.Tensor]]:
        """Vectors of all rows by their weights, then of those that answer, as far as the encoder has these senses; who
        is like whom among them; and rows of networks by their weights beside those of their broken twins."""
        senses, hears = self.encoder.perceived(batch.stacks, batch.answers), self.encoder.config
        every, answered = torch.arange(len(batch.member)), batch.answered.nonzero().flatten()
        by_weights, by_answers = (
            every[: len(every) * hears.weights],
            answered[: len(answered) * hears.responses],
        )
        parts = []
        if len(by_weights):
            parts.append(self.encoder.joined(senses, senses.only(WEIGHTS)).learned)
        if len(by_answers) or not parts:
            heard = torch.stack([batch.joined | ~batch.answered, batch.answered], 1)
            device = senses.sketches.device
            parts.append(self.encoder.joined(senses, heard.to(device)).learned[by_answers.to(device)])
        vectors, rows = torch.cat(parts), torch.cat([by_weights, by_answers])
        masks = self.training_set.masks(
            batch.member[rows], batch.broken[rows], torch.arange(len(rows)) < len(by_weights)
        )
        device = vectors.device
        on_device = Masks(*(mask.to(device) for mask in (masks.positive, masks.negative, masks.twins)))
        return vectors, on_device, _twins(batch.member[by_weights], batch.broken[by_weights])

    def _accuracy_loss(self, head: torch.nn.Linear, batch: Views, vectors: torch.Tensor) -> torch.Tensor:
        """Squared error of the accuracies that are told from the weights, where they are known."""
        told = torch.from_numpy(self.training_set.attributes.accuracy[batch.member.numpy()]).to(vectors)
        known = told.isfinite() & ~batch.broken.to(told.device)
        guessed = head(vectors[: len(told)][known]).squeeze(1)
        return (guessed - told[known]).square().mean() if known.any() else guessed.sum()

    def on_train_epoch_end(self) -> None:
        found = self.validation.mean_average_precisions(self.encoder, self.device)
        self.log(CHOICE, sum(found.values()) / max(1, len(found)))
        self.log("validation_map", found.get(BOTH, 0.0))
        self.log_dict({f"validation_map_{name}": value for name, value in found.items() if name != BOTH})

    def configure_optimizers(self) -> Any:
        settings = self.settings
        optimizer = torch.optim.AdamW(
            self.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, settings.learning_rate, steps, pct_start=0.1
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _twins(member: torch.Tensor, broken: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of networks, and those of their broken twins."""
    rows = (~broken).nonzero().flatten()
    intact_of = dict(zip(member[rows].tolist(), rows.tolist(), strict=True))
    return (
        torch.tensor([intact_of[one] for one in member[broken].tolist()], dtype=torch.long),
        broken.nonzero().flatten(),
    )


def _packed(batch: Any) -> Any:
    return batch.packed()


def _begin(_: int) -> None:
    """A loader's process waits to give what it has to a parent that may be dead."""
    end_with_parent()


class _Loader(DataLoader[Any]):
    """A loader whose processes begin undisturbed."""

    def __iter__(self) -> Any:
        with forking():
            return super().__iter__()


class _Steps(Sampler[int]):
    """The numbers of an epoch's steps, ``each`` so many, on from those that are ``done``."""

    def __init__(self, each: int, done: Callable[[], int]) -> None:
        self.each, self.done = each, done

    def __len__(self) -> int:
        return self.each

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.done(), self.done() + self.each))


class _Pace(Callback):
    """Tells after every step how far the training is and how it goes; of every epoch how fast it was, and which share
    of its time it waited for data."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.networks, self.waited = 0, 0.0
        self.began = self.ready = 0.0

    def on_train_epoch_start(self, *_: Any) -> None:
        self.networks, self.waited = 0, 0.0
        self.began = self.ready = time.monotonic()

    def on_train_batch_start(self, *_: Any) -> None:
        self.waited += time.monotonic() - self.ready

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        module: lightning.LightningModule,
        outputs: Any,
        batch: Views,
        _: int,
    ) -> None:
        raise_if_received()  # torch swallows what is raised while it puts away a process of its loader
        self.networks += len(batch.member.unique())
        words = [f"loss {outputs['loss'].item():.2f}"]
        if (found := trainer.callback_metrics.get(CHOICE)) is not None:
            words.append(f"validation MAP {found.item():.2f}")
        self.ready = time.monotonic()
        pace = self.networks / (self.ready - self.began)
        words.append(f"{pace:,.0f} networks/s")
        self.progress(trainer.global_step, int(trainer.estimated_stepping_batches), " · ".join(words))
        if trainer.is_last_batch:
            share = self.waited / (self.ready - self.began)
            module.log_dict({"networks_per_second": pace, "share_waiting_for_data": share})


@dataclass(frozen=True)
class Fitted:
    """What a training came to: same-task MAP of the best epoch by sense, and how many epochs were run."""

    senses: dict[str, float]
    epochs: int


def fit(module: ContrastiveTraining, folder: Path, logger: Logger, progress: Progress) -> Fitted:
    """Train; leaves the weights of the best epoch in the module.

    What is needed to go on after this process is killed lies in ``folder``: the same training begun again goes on with
    the epoch that wasn't finished, and gives the same encoder.

    Raises:
        KeyboardInterrupt: where it is interrupted.
    """
    settings, data, chooses = module.settings, module.training_set, module.validation.chooses
    gpu, last = torch.cuda.is_available(), folder / LAST
    # Lightning asks for the first steps before it reads how far the training was
    begun = torch.load(last, weights_only=False, mmap=True)["global_step"] if last.exists() else 0
    beside = 1 if cores() > 1 else 0
    # what was itself spawned would by default spawn: that imports everything anew at each epoch
    forks = beside and sys.platform == "linux"
    loader = _Loader(
        data,
        batch_size=None,
        sampler=_Steps(len(data), lambda: max(begun, trainer.global_step)),
        collate_fn=_packed,
        worker_init_fn=_begin,
        num_workers=beside,
        multiprocessing_context="fork" if forks else None,
        pin_memory=gpu,
    )
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        checkpoint = ModelCheckpoint(folder, monitor=CHOICE, mode="max", save_last=True)
        trainer = lightning.Trainer(
            max_epochs=settings.epochs,
            accelerator="auto",
            devices=1,
            precision="bf16-mixed" if gpu else "32-true",
            logger=logger,
            callbacks=[
                checkpoint,
                *([EarlyStopping(CHOICE, mode="max", patience=settings.patience)] if chooses else []),
                _Pace(progress),
            ],
            enable_progress_bar=False,
            enable_model_summary=False,
            log_every_n_steps=1,
        )
        try:
            trainer.fit(module, loader, ckpt_path=last if last.exists() else None, weights_only=False)
        except SystemExit as ended:  # what Lightning makes of a Ctrl-C
            raise KeyboardInterrupt from ended
        if chooses and checkpoint.best_model_path:  # else the last epoch stands
            best = torch.load(checkpoint.best_model_path, weights_only=False)
            module.load_state_dict(best["state_dict"])
        senses = module.validation.mean_average_precisions(module.encoder, module.device)
    return Fitted(senses, trainer.current_epoch)


def can_go_on(folder: Path) -> bool:
    """Whether a training can go on with what lies in ``folder``: not where a file was cut short by a crash."""
    try:
        return all(torch.load(path, weights_only=False, mmap=True) for path in folder.glob("*.ckpt"))
    except (RuntimeError, EOFError, UnpicklingError):
        return False

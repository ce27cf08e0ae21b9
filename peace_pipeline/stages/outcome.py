"""What a stage made of a model, and of a batch of models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from peace_pipeline.lake import Lake
from peace_pipeline.lake.tables import NEW, SKIPPED
from peace_pipeline.weights.unusable import UnusableModel, model_errors
from peace_pipeline.zoo.record import ModelRecord
from peace_pipeline.zoo.retries import Retries

Row = dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """Done where there is no ``reason``; else skipped for it. ``passing``: later crawls offer the model again."""

    model_id: str
    revision: str
    reason: str | None = None
    passing: bool = False

    @property
    def done(self) -> bool:
        """Whether the model went through."""
        return self.reason is None

    def as_row(self) -> Row:
        """The columns that every stage's table has of it."""
        return vars(self) | {"status": NEW if self.done else SKIPPED}


@dataclass(frozen=True)
class BatchOutcome:
    """How many models of a batch went through a stage, and how many were skipped."""

    models: int
    skipped: int

    @classmethod
    def of(cls, rows: Iterable[Mapping[str, Any]]) -> BatchOutcome:
        """The count of what :meth:`Outcome.as_row` says in ``rows``."""
        done = [row["status"] == NEW for row in rows]
        return cls(sum(done), len(done) - sum(done))


def row_of(record: ModelRecord, work: Callable[[], Row]) -> Row:
    """The columns that a stage's ``work`` gives for a model, and what became of it: where something is wrong with the
    model alone, it is skipped."""
    try:
        with model_errors():
            return work() | Outcome(record.model_id, record.revision).as_row()
    except UnusableModel as error:
        return Outcome(record.model_id, record.revision, str(error), error.passing).as_row()


def note_failures(lake: Lake, batch: str, rows: Iterable[Row], now: datetime | None) -> None:
    """Models that failed for a passing reason are offered again; the others are done with, or skipped for good."""
    rows = list(rows)
    failed = [(row["model_id"], row["revision"]) for row in rows if row["passing"]]
    settled = [row["model_id"] for row in rows if not row["passing"]]
    Retries(lake).note(batch, failed, settled, now or datetime.now(UTC))


def skipped_models(lake: Lake, batch: str) -> list[dict[str, str]]:
    """Model id and reason of every model of the batch that was skipped between crawl and embedding."""
    return skipped_in(lake.inventory(batch)) + skipped_in(lake.wirings(batch))


def skipped_in(path: Path) -> list[dict[str, str]]:
    """Model id and reason of every model that a table of outcomes says was skipped."""
    table = pq.read_table(path, columns=["model_id", "reason"], filters=[("status", "=", SKIPPED)])
    return table.to_pylist()

"""What a stage made of a model, and of a batch of models."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from peace_pipeline.lake.tables import NEW, SKIPPED


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

    def as_row(self) -> dict[str, Any]:
        """The columns that every stage's table has of it."""
        status = NEW if self.done else SKIPPED
        return vars(self) | {"status": status}


@dataclass(frozen=True)
class BatchOutcome:
    """How many models of a batch went through a stage, and how many were skipped."""

    models: int
    skipped: int

    @classmethod
    def of(cls, outcomes: Iterable[Outcome]) -> BatchOutcome:
        """The count of ``outcomes``."""
        done = [outcome.done for outcome in outcomes]
        return cls(sum(done), len(done) - sum(done))

"""The model record: what PEACE knows of a model revision before it opens the weights."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

import pyarrow as pa

from peace_pipeline.lake.tables import MODEL_RECORDS, NEW, SKIPPED


@dataclass(frozen=True)
class ModelFile:
    """One file of a model. ``path`` is relative to the record's ``uri``; ``size`` is in bytes.

    ``sha256`` is the digest in hex, or as many of its first digits as the source publishes. What the source doesn't
    say before a download is ``None``.
    """

    path: str
    size: int | None
    sha256: str | None
    format: str


@dataclass(frozen=True)
class ModelRecord:
    """One model revision. ``(source, model_id, revision)`` is the key.

    ``etag`` is the source's own cheap version token: equal etags mean that nothing needs to be read again.
    ``hyperparameters`` of trained networks name the ``recipe`` (all but the seed) and the training ``run``
    (recipe and seed; checkpoints of one run share it).
    """

    source: str
    model_id: str
    revision: str
    uri: str
    etag: str | None = None
    files: tuple[ModelFile, ...] = ()
    architecture: str | None = None
    library: str | None = None
    task: str | None = None
    datasets: tuple[str, ...] = ()
    metrics: dict[str, float] = field(default_factory=dict)
    hyperparameters: dict[str, str] = field(default_factory=dict)
    seed: int | None = None
    base_model: str | None = None
    base_model_relation: str | None = None
    license: str | None = None
    tags: tuple[str, ...] = ()
    card: str | None = None
    parameters: int | None = None
    created_at: datetime | None = None
    last_modified: datetime | None = None
    status: str = NEW
    reason: str | None = None

    def skipped(self, reason: str) -> ModelRecord:
        """This record, skipped for ``reason``."""
        return replace(self, status=SKIPPED, reason=reason)


@dataclass(frozen=True, slots=True)
class KnownModel:
    """What a crawl needs of a model that the lake knows; without an ``etag`` the model has to be looked at again."""

    source: str
    revision: str
    uri: str
    etag: str | None
    status: str
    reason: str | None

    @classmethod
    def of(cls, record: ModelRecord) -> KnownModel:
        """The part of ``record`` that later crawls need."""
        return cls(record.source, record.revision, record.uri, record.etag, record.status, record.reason)


def to_table(records: Iterable[ModelRecord]) -> pa.Table:
    """Records as an Arrow table of model records."""
    return pa.Table.from_pylist([asdict(record) for record in records], schema=MODEL_RECORDS.schema)


def from_table(table: pa.Table | pa.RecordBatch) -> list[ModelRecord]:
    """The records of an Arrow table of model records."""
    return [_from_row(row) for row in table.to_pylist(maps_as_pydicts="strict")]


def _from_row(row: dict[str, Any]) -> ModelRecord:
    row["files"] = tuple(ModelFile(**file) for file in row["files"] or ())
    for name in ("datasets", "tags"):
        row[name] = tuple(row[name] or ())
    for name in ("metrics", "hyperparameters"):
        row[name] = row[name] or {}
    return ModelRecord(**row)

"""The checkpoints of a batch → an inventory of their tensors, one model at a time."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from peace_pipeline.lake import Lake, write_parquet
from peace_pipeline.lake.tables import INVENTORY, NEW, SKIPPED
from peace_pipeline.progress import Progress
from peace_pipeline.stages.outcome import BatchOutcome, Row, note_failures, row_of
from peace_pipeline.symmetry.opening import open_fetched
from peace_pipeline.weights.errors import UnreadableCheckpoint
from peace_pipeline.weights.inventory import take_inventory
from peace_pipeline.weights.logical import read_of
from peace_pipeline.weights.sampled_copy import fetch_sampled
from peace_pipeline.weights.tensors import TensorInfo
from peace_pipeline.zoo import files
from peace_pipeline.zoo.batches import read_records
from peace_pipeline.zoo.card import read_config
from peace_pipeline.zoo.contents import Contents
from peace_pipeline.zoo.fetching import Fetched, Fetcher
from peace_pipeline.zoo.record import ModelRecord
from peace_pipeline.zoo.source import FetchError


def extract_batch(
    lake: Lake,
    batch: str,
    fetcher: Fetcher | None = None,
    progress: Progress | None = None,
    now: datetime | None = None,
) -> BatchOutcome:
    """Fetch, verify and open the checkpoints of a batch and write their tensor inventory, with a hash of every tensor
    and of the model (``content``): equal for models of equal tensors, whatever files they lie in.

    A model that can't be had or read becomes a ``skipped`` row with its reason (``passing`` where later crawls
    shall offer it again, after a pause that is counted from ``now``); the batch goes on.

    Raises:
        OSError: where the disk is full.
    """
    records = [record for record in read_records(lake, batch) if record.status == NEW]
    rows = []
    for record, fetched in (fetcher or Fetcher()).fetch_all(records, fetch_sampled):
        rows.append(row_of(record, partial(_inventory, record, fetched)))
        if progress:
            progress(len(rows), len(records))
    Contents(lake).put(batch, rows)
    note_failures(lake, batch, [row for row in rows if row["status"] == SKIPPED], now)
    write_parquet(pa.Table.from_pylist(rows, schema=INVENTORY.schema), lake.inventory(batch))
    return BatchOutcome.of(rows)


def _inventory(record: ModelRecord, fetched: Fetched | FetchError) -> Row:
    if isinstance(fetched, FetchError):
        raise fetched
    if not fetched.is_part:
        _verify(record, fetched.folder)
    with open_fetched(record, fetched) as checkpoint:
        found = take_inventory(checkpoint)
        shares = read_of(checkpoint, read_config(fetched.folder)).shares
        return {
            "parameters": checkpoint.parameters,
            "content": found.content,
            "tensors": [_listed(info, digest) for info, digest in found.tensors],
            "in_layers": shares["layers"],
            "in_buffers": shares["buffers"],
            "in_averages": shares["averages"],
            "unread": shares["unread"],
            "not_finite": list(found.not_finite),
        }


def _listed(info: TensorInfo, digest: str | None) -> dict[str, Any]:
    return {"name": info.name, "shape": info.shape, "dtype": info.stored or info.dtype, "hash": digest}


def _verify(record: ModelRecord, folder: Path) -> None:
    for file in record.files:
        try:
            unchanged = files.matches(folder / file.path, file)
        except (
            FileNotFoundError
        ) as error:  # gone since the crawl, or given up by somebody else who had it fetched
            raise FetchError(f"{file.path}: {error.strerror}", passing=True) from error
        except OSError as error:
            raise UnreadableCheckpoint(f"{file.path}: {error.strerror}") from error
        if not unchanged:
            raise UnreadableCheckpoint(f"{file.path}: changed since the crawl (its sha256 differs)")

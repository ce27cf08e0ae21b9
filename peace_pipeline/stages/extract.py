"""Batches of model records → tensor inventory → layer table and wirings, one model at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import starmap
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from peace_pipeline.lake import Lake, atomic, write_parquet
from peace_pipeline.lake.tables import INVENTORY, WIRINGS
from peace_pipeline.stages.outcome import BatchOutcome
from peace_pipeline.symmetry.form.reduction import Reduction
from peace_pipeline.symmetry.wiring.inference import infer_wiring
from peace_pipeline.symmetry.wiring.types import Wiring, WiringMismatch
from peace_pipeline.weights.checkpoint import Checkpoint, open_checkpoint
from peace_pipeline.weights.errors import UnreadableCheckpoint, memory_errors
from peace_pipeline.weights.inventory import take_inventory
from peace_pipeline.weights.layer_table import READING, LayerRow, LayerTableWriter
from peace_pipeline.weights.logical import LogicalTensors, logical
from peace_pipeline.weights.sampled_copy import NAME as SAMPLED
from peace_pipeline.weights.sampled_copy import fetch_sampled, open_sampled
from peace_pipeline.weights.tensors import TensorInfo
from peace_pipeline.zoo import NEW, SKIPPED, ModelRecord, files
from peace_pipeline.zoo.batches import read_records
from peace_pipeline.zoo.card import CONFIG, read_config
from peace_pipeline.zoo.contents import Contents
from peace_pipeline.zoo.fetching import Fetched, Fetcher
from peace_pipeline.zoo.retries import Retries
from peace_pipeline.zoo.source import FetchError, Progress

_UNREADABLE = (UnreadableCheckpoint, MemoryError)
_LONGEST_REASON = 500


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
    fetched = (fetcher or Fetcher()).fetch_all(records, fetch_sampled)
    rows = list(_reported(starmap(_inventory, fetched), len(records), progress))
    Contents(lake).put(batch, rows)
    _note_failures(lake, batch, [row for row in rows if row["status"] == SKIPPED], now)
    write_parquet(pa.Table.from_pylist(rows, schema=INVENTORY.schema), lake.inventory(batch))
    skipped = sum(row["status"] == SKIPPED for row in rows)
    return BatchOutcome(len(rows) - skipped, skipped)


def _note_failures(lake: Lake, batch: str, rows: list[dict[str, Any]], now: datetime | None) -> None:
    """Models that failed for a passing reason are offered again; the others are done with, or skipped for good."""
    failed = [(row["model_id"], row["revision"]) for row in rows if row.get("passing")]
    settled = [row["model_id"] for row in rows if not row.get("passing")]
    Retries(lake).note(batch, failed, settled, now or datetime.now(UTC))


def _reported(
    rows: Iterable[dict[str, Any]], total: int, progress: Progress | None
) -> Iterator[dict[str, Any]]:
    for done, row in enumerate(rows, 1):
        if progress:
            progress(done, total)
        yield row


def _inventory(record: ModelRecord, fetched: Fetched | FetchError) -> dict[str, Any]:
    row = {"model_id": record.model_id, "revision": record.revision, "status": SKIPPED}
    if isinstance(fetched, FetchError):
        return row | {"reason": str(fetched), "passing": fetched.passing}
    try:
        with _opened(record, fetched) as checkpoint:
            found = take_inventory(checkpoint)
            return row | {
                "status": NEW,
                "parameters": checkpoint.parameters,
                "content": found.content,
                "tensors": [_listed(info, digest) for info, digest in found.tensors],
            }
    except _UNREADABLE as error:
        return row | {"reason": _reason(error)}


def _listed(info: TensorInfo, digest: str | None) -> dict[str, Any]:
    return {"name": info.name, "shape": info.shape, "dtype": info.stored or info.dtype, "hash": digest}


def _reason(error: Exception) -> str:
    return "does not fit in memory" if isinstance(error, MemoryError) else str(error)[:_LONGEST_REASON]


@contextmanager
def _opened(record: ModelRecord, fetched: Fetched, *, verify: bool = True) -> Iterator[Checkpoint]:
    """The record's checkpoint: its files, whose digests are checked, or the part of them that was fetched."""
    if verify and not fetched.is_part:
        _verify(record, fetched.folder)
    opened = (
        open_sampled(fetched.folder / SAMPLED)
        if fetched.is_part
        else open_checkpoint(_weights(record, fetched.folder))
    )
    with opened as checkpoint, memory_errors():
        yield checkpoint


def _weights(record: ModelRecord, folder: Path) -> list[Path]:
    return [folder / file.path for file in record.files if files.is_weights(file.path)]


def _verify(record: ModelRecord, folder: Path) -> None:
    for file in record.files:
        try:
            unchanged = files.matches(folder / file.path, file)
        except OSError as error:
            raise UnreadableCheckpoint(f"{file.path}: {error.strerror}") from error
        if not unchanged:
            raise UnreadableCheckpoint(f"{file.path}: changed since the crawl (its sha256 differs)")


def layer_batch(
    lake: Lake,
    batch: str,
    fetcher: Fetcher | None = None,
    progress: Progress | None = None,
    now: datetime | None = None,
) -> BatchOutcome:
    """Wire the readable checkpoints of a batch and write their layer table and their wirings.

    Afterwards copies that were fetched for it are given up.
    """
    fetcher = fetcher or Fetcher()
    readable = {
        row["model_id"]
        for row in pq.read_table(lake.inventory(batch), columns=["model_id", "status"]).to_pylist()
        if row["status"] == NEW
    }
    everything = read_records(lake, batch)
    records = [record for record in everything if record.model_id in readable]
    rows = []
    with atomic(lake.layers(batch)) as temporary, LayerTableWriter(temporary) as writer:
        for done, (record, fetched) in enumerate(fetcher.fetch_all(records, fetch_sampled), 1):
            rows.append(_write_layers(record, fetched, writer))
            if progress:
                progress(done, len(records))
    fetcher.release(everything)  # before the batch counts as done: nobody would do it later
    _note_failures(lake, batch, rows, now)
    write_parquet(
        pa.Table.from_pylist(rows, schema=WIRINGS.schema.with_metadata(READING)), lake.wirings(batch)
    )
    skipped = sum(row["status"] == SKIPPED for row in rows)
    return BatchOutcome(len(rows) - skipped, skipped)


def wire_checkpoint(checkpoint: Checkpoint, config: dict[str, Any]) -> tuple[LogicalTensors, Wiring]:
    """An open checkpoint's tensors as layers are made of them, and the wiring.

    Raises:
        UnreadableCheckpoint: where nothing in it is a layer, or weights are quantised in a way that is not read.
    """
    network = logical(checkpoint, config)
    try:
        return network, infer_wiring(network.tensors.values(), config)
    except WiringMismatch as error:
        raise UnreadableCheckpoint(str(error)) from error


def config_beside(folder: Path) -> dict[str, Any]:
    """The config.json of a model folder; empty where there is none."""
    return read_config(folder) if (folder / CONFIG).is_file() else {}


def _write_layers(
    record: ModelRecord, fetched: Fetched | FetchError, writer: LayerTableWriter
) -> dict[str, Any]:
    row: dict[str, Any] = {"model_id": record.model_id, "revision": record.revision}
    if isinstance(fetched, FetchError):
        return row | {"status": SKIPPED, "reason": str(fetched), "passing": fetched.passing}
    try:
        with _opened(record, fetched, verify=False) as checkpoint:
            network, wiring = wire_checkpoint(checkpoint, config_beside(fetched.folder))
            reduction = Reduction(wiring, network.tensors)
            row |= {"parameters": network.parameters, "sampled": network.sampled}
            writer.write_model(layer_rows(record.model_id, record.revision, reduction, network))
    except (*_UNREADABLE, ValueError) as error:
        return row | {"status": SKIPPED, "reason": _reason(error)}
    return row | {
        "status": NEW,
        "method": wiring.method,
        "family": wiring.family,
        "wiring": reduction.wiring.to_json(),
    }


def layer_rows(
    model_id: str, revision: str, reduction: Reduction, network: LogicalTensors
) -> Iterator[LayerRow]:
    """The rows of a model's layers, one layer in memory at a time."""
    for position, tensors in reduction.layers(network.read):
        wired, folded = reduction.wiring.layers[position], reduction.wiring.folded.layers[position]
        info = network.tensors[wired.weight]
        for parameter, tensor in tensors.items():
            yield LayerRow(
                model_id=model_id,
                revision=revision,
                layer=position,
                name=wired.layer.name,
                kind=wired.layer.kind,
                parameter=parameter,
                out_group=folded.out.group,
                in_group=folded.into.group if folded.into else None,
                dtype=info.stored or info.dtype,
                values=tensor.to(torch.float32).numpy(),
                sampled=reduction.is_sampled(position),
            )


def skipped_models(lake: Lake, batch: str) -> list[dict[str, str]]:
    """Model id and reason of every model of the batch that was skipped after the crawl."""
    return [
        {"model_id": row["model_id"], "reason": row["reason"]}
        for path in (lake.inventory(batch), lake.wirings(batch))
        for row in pq.read_table(path, columns=["model_id", "status", "reason"]).to_pylist()
        if row["status"] == SKIPPED
    ]

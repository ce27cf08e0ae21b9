"""The readable checkpoints of a batch → their layer table and their wirings, one model at a time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from peace_pipeline.lake import Lake, atomic, write_parquet
from peace_pipeline.lake.tables import NEW, WIRINGS
from peace_pipeline.progress import Progress
from peace_pipeline.stages.outcome import BatchOutcome, Row, note_failures, row_of
from peace_pipeline.symmetry.form.reduction import Reduction
from peace_pipeline.symmetry.opening import OpenNetwork, open_fetched
from peace_pipeline.weights.layer_table import READING, LayerRow, LayerTableWriter
from peace_pipeline.weights.logical import LogicalTensors
from peace_pipeline.weights.sampled_copy import fetch_sampled
from peace_pipeline.zoo.batches import read_records
from peace_pipeline.zoo.card import read_config
from peace_pipeline.zoo.fetching import Fetched, Fetcher
from peace_pipeline.zoo.record import ModelRecord
from peace_pipeline.zoo.source import FetchError


def layer_batch(
    lake: Lake,
    batch: str,
    fetcher: Fetcher | None = None,
    progress: Progress | None = None,
    now: datetime | None = None,
) -> BatchOutcome:
    """Wire the readable checkpoints of a batch and write their layer table and their wirings."""
    fetcher = fetcher or Fetcher()
    readable = {
        row["model_id"]
        for row in pq.read_table(lake.inventory(batch), columns=["model_id", "status"]).to_pylist()
        if row["status"] == NEW
    }
    records = [record for record in read_records(lake, batch) if record.model_id in readable]
    rows = []
    with atomic(lake.layers(batch)) as temporary, LayerTableWriter(temporary) as writer:
        for record, fetched in fetcher.fetch_all(records, fetch_sampled):
            rows.append(row_of(record, partial(_write_layers, record, fetched, writer)))
            if progress:
                progress(len(rows), len(records))
    note_failures(lake, batch, rows, now)
    write_parquet(
        pa.Table.from_pylist(rows, schema=WIRINGS.schema.with_metadata(READING)), lake.wirings(batch)
    )
    return BatchOutcome.of(rows)


def _write_layers(record: ModelRecord, fetched: Fetched | FetchError, writer: LayerTableWriter) -> Row:
    if isinstance(fetched, FetchError):
        raise fetched
    with open_fetched(record, fetched) as checkpoint:
        network = OpenNetwork.of(checkpoint, read_config(fetched.folder))
        reduction = Reduction(network.common, network.logical.tensors)
        writer.write_model(layer_rows(record.model_id, record.revision, reduction, network.logical))
        return {
            "parameters": network.logical.parameters,
            "sampled": network.logical.sampled,
            "method": network.common.method,
            "family": network.common.family,
            "assumes": network.common.assumes,
            "wiring": reduction.wiring.to_json(),
        }


def layer_rows(
    model_id: str, revision: str, reduction: Reduction, logical: LogicalTensors
) -> Iterator[LayerRow]:
    """The rows of a model's layers, one layer in memory at a time."""
    for position, tensors in reduction.layers(logical.read):
        wired, folded = reduction.wiring.layers[position], reduction.wiring.folded.layers[position]
        info = logical.tensors[wired.weight]
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

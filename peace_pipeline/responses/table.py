"""The table of responses: one row a network, with what it answers or why it was not run."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from peace_pipeline.lake import Lake
from peace_pipeline.lake.tables import RESPONSES
from peace_pipeline.responses.standard import CONSTANT, HEADLESS, VERSION

if TYPE_CHECKING:
    from peace_pipeline.responses.answers import Response

_ASKED = {b"peace.probes": VERSION.encode()}
"""The version of the probes, as metadata of the table: another one makes a batch stale."""
SCHEMA = RESPONSES.schema.with_metadata(_ASKED)
_LARGEST = float(np.finfo(np.float16).max)


def answer_row(response: Response) -> dict[str, Any]:
    """The columns that a response has beside the model's; logits beyond float16 are cut off there."""
    probe_count, output_count = response.outputs.shape
    return {
        "kind": response.kind,
        "run_by": response.run_by,
        "probes": response.version,
        "probe_count": probe_count,
        "output_count": output_count,
        "outputs": _halves(response.outputs) if output_count else None,
        "labels": list(response.labels) if response.labels else None,
        "gram": None if response.gram is None else _halves(response.gram),
        "shape": None if response.shape is None else list(response.shape),
    }


def read_responses(lake: Lake, batch: str, wanted: Collection[str] | None = None) -> dict[str, Response]:
    """Model id → what it answers, of the networks of a batch (or those ``wanted``) with outputs that were run."""
    from peace_pipeline.responses.answers import Response

    path = lake.responses(batch)
    if not path.exists():
        return {}
    found = {}
    for rows in pq.ParquetFile(path).iter_batches(batch_size=64):
        table = pa.Table.from_batches([rows]).filter(pc.field("outputs").is_valid())
        if wanted is not None:
            table = table.filter(pc.field("model_id").isin(list(wanted)))
        told = table.drop_columns(["outputs", "gram"]).to_pylist()
        for row, outputs, gram in zip(told, table["outputs"], table["gram"], strict=True):
            found[row["model_id"]] = Response(
                row["model_id"],
                row["kind"],
                _floats(outputs).reshape(row["probe_count"], row["output_count"]),
                row["probes"],
                row["run_by"],
                tuple(row["labels"]) if row["labels"] else None,
                _floats(gram) if gram.is_valid else None,
                tuple(row["shape"]) if row.get("shape") else None,
            )
    return found


@dataclass(frozen=True)
class Taken:
    """What a network takes: a ``kind`` of inputs, of a ``shape`` where that is known."""

    kind: str
    shape: tuple[int, ...] | None


def taken_by(lake: Lake) -> dict[str, Taken]:
    """Model id → what it takes, of all networks that were run, by the newest batch that has them."""
    found: dict[str, Taken] = {}
    for batch in lake.batches():
        if (path := lake.responses(batch)).exists():
            names = ["model_id", "kind", "shape"]
            columns = [name for name in names if name in pq.read_schema(path).names]
            for row in pq.read_table(path, columns=columns).to_pylist():
                found.pop(row["model_id"], None)
                if row["kind"]:
                    shape = row.get("shape")
                    found[row["model_id"]] = Taken(row["kind"], tuple(shape) if shape else None)
    return found


def why_silent(lake: Lake, batch: str, model_id: str) -> str | None:
    """Why a network of a batch has no answers that can be compared; ``None`` where the batch doesn't tell of it."""
    path = lake.responses(batch)
    if not path.exists():
        return None
    columns, own = ["reason", "output_count"], pc.field("model_id") == model_id
    for row in pq.read_table(path, columns=columns, filters=own).to_pylist():
        return row["reason"] or (CONSTANT if row["output_count"] else HEADLESS)
    return None


def is_asked_alike(path: Path) -> bool:
    """Whether a table of responses was made with the probes of this version of PEACE."""
    return (pq.read_schema(path).metadata or {}).get(b"peace.probes") == _ASKED[b"peace.probes"]


def _halves(values: np.ndarray) -> np.ndarray:
    return np.clip(values, -_LARGEST, _LARGEST).astype(np.float16).ravel()


def _floats(values: pa.ListScalar) -> np.ndarray:
    return values.values.to_numpy(zero_copy_only=False).astype(np.float32)

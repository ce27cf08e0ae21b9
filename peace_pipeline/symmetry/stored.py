"""Networks out of the lake: their wirings, and their folded tensors from the layer tables."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow.parquet as pq
import torch

from peace_pipeline.lake import Lake
from peace_pipeline.symmetry.network import Network
from peace_pipeline.symmetry.wiring.types import Wiring
from peace_pipeline.weights.layer_table import read_models


def read_wirings(lake: Lake, batch: str) -> dict[str, Wiring]:
    """Model id → wiring of the batch's networks that were not skipped."""
    table = pq.read_table(lake.wirings(batch), columns=["model_id", "status", "wiring"])
    parsed: dict[str, Wiring] = {}
    return {
        row["model_id"]: parsed.setdefault(row["wiring"], Wiring.from_json(row["wiring"]))
        for row in table.to_pylist()
        if row["status"] == "new"
    }


def read_networks(lake: Lake, batch: str, model_ids: set[str] | None = None) -> Iterator[Network]:
    """A batch's networks, or those of ``model_ids``, one in memory at a time."""
    wirings = read_wirings(lake, batch)
    wanted = wirings.keys() if model_ids is None else wirings.keys() & model_ids
    for model_id, arrays in read_models(lake.layers(batch), set(wanted)):
        tensors = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
        yield Network(model_id, wirings[model_id], tensors)

"""Networks out of the lake: their wirings, and their folded tensors from the layer tables."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from peace_pipeline.lake import Lake
from peace_pipeline.lake.tables import NEW
from peace_pipeline.symmetry.network import Network
from peace_pipeline.symmetry.wiring.types import Wiring
from peace_pipeline.weights.layer_table import read_models


def read_wirings(lake: Lake, batch: str, model_ids: set[str] | None = None) -> dict[str, Wiring]:
    """Model id → wiring of the batch's networks (of ``model_ids``) that were not skipped; equal ones are one."""
    wanted = pc.field("status") == NEW
    if model_ids is not None:
        wanted &= pc.field("model_id").isin(list(model_ids))
    rows = pq.read_table(lake.wirings(batch), columns=["model_id", "wiring"], filters=wanted).to_pylist()
    parsed = {text: Wiring.from_json(text) for text in {row["wiring"] for row in rows}}
    return {row["model_id"]: parsed[row["wiring"]] for row in rows}


def read_networks(lake: Lake, batch: str, model_ids: set[str] | None = None) -> Iterator[Network]:
    """A batch's networks, or those of ``model_ids``, one in memory at a time."""
    wirings = read_wirings(lake, batch, model_ids)
    for model_id, arrays in read_models(lake.layers(batch), set(wirings)):
        tensors = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
        yield Network(model_id, wirings[model_id], tensors)

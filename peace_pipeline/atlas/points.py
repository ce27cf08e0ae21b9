"""The networks of the index as points: what is known of each, and its vector."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from peace_pipeline.index.search import NoIndex
from peace_pipeline.index.tables import MODELS, connect, indexed_models
from peace_pipeline.lake import Lake

_KNOWN = [
    "model_id", "source", "task", "datasets", "architecture", "library", "parameters", "content",
    "metrics", "run_by", "encoder_version",
]  # fmt: skip


@dataclass(frozen=True)
class Points:
    """Networks in a random order that depends on the seed alone: the first few are a fair sample of all.

    ``known`` are the columns of the index that describe each, ``vectors`` (networks, dimension) of unit norm, and
    ``total`` is how many networks the index has.
    """

    known: pa.Table
    vectors: NDArray[np.float32]
    total: int

    @property
    def model_ids(self) -> list[str]:
        """The names of the networks."""
        return self.known["model_id"].to_pylist()

    def __len__(self) -> int:
        return len(self.known)


def read_points(lake: Lake, most: int, seed: int) -> Points:
    """The networks of the index, at most so many at random. The index is read as a stream: what stays in memory are
    all ids, and the vectors of the networks that are drawn.

    Raises:
        NoIndex: where there are none.
    """
    ids = indexed_models(lake)["model_id"].to_pylist()
    if not ids:
        raise NoIndex(f"no index in {lake.root}: `peace run` makes one of the models of its sources")
    drawn = sorted(ids, key=lambda name: hashlib.blake2b(f"{seed}/{name}".encode()).digest())[:most]
    wanted = pa.array(drawn)
    table = connect(lake).open_table(MODELS.name)
    known: list[pa.RecordBatch] = []
    vectors: list[NDArray[np.float32]] = []
    for batch in table.search().select([*_KNOWN, "vector"]).limit(None).to_batches():
        batch = batch.filter(pc.is_in(batch["model_id"], wanted))
        known.append(batch.select(_KNOWN))
        vectors.append(batch["vector"].flatten().to_numpy().reshape(len(batch), -1))
    found = pa.Table.from_batches(known)
    order = pc.index_in(wanted, found["model_id"].combine_chunks()).to_numpy()
    stacked = np.concatenate([part for part in vectors if len(part)])[order]
    stacked /= np.maximum(np.linalg.norm(stacked, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    return Points(found.take(pa.array(order)), stacked, len(ids))

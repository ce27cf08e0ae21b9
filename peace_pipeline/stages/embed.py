"""Embedding tables: one Parquet file a batch, level and encoder version."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from peace_pipeline.lake import Lake, batch_files, write_parquet
from peace_pipeline.lake.tables import LAYER_EMBEDDINGS, NETWORK_EMBEDDINGS
from peace_pipeline.progress import Progress

NETWORK, LAYER = "network", "layer"


def embed_batch(lake: Lake, batch: str, progress: Progress | None = None) -> tuple[str, int]:
    """Embed a batch's networks with the current encoder; returns the encoder's version and how many there were.

    Raises:
        NoEncoder: where the lake has none.
    """
    from datetime import UTC, datetime

    from peace_pipeline.encoder import store
    from peace_pipeline.encoder.embed import embed
    from peace_pipeline.symmetry.stored import read_networks, read_wirings

    version, encoder = store.load(lake)
    wirings = read_wirings(lake, batch)
    revisions = _revisions(lake.wirings(batch))
    now = datetime.now(UTC)
    networks: list[dict[str, Any]] = []
    layers: list[dict[str, Any]] = []
    for embedding in embed(encoder, read_networks(lake, batch)):
        key = {"model_id": embedding.key, "revision": revisions[embedding.key], "encoder_version": version}
        networks.append(key | {"embedded_at": now, "vector": embedding.network})
        for position, (wired, vector) in enumerate(
            zip(wirings[embedding.key].layers, embedding.layers, strict=True)
        ):
            layer = {"layer": position, "name": wired.layer.name, "kind": wired.layer.kind, "vector": vector}
            layers.append(key | layer)
        if progress:
            progress(len(networks), len(wirings))
    for level, rows, schema in (
        (LAYER, layers, LAYER_EMBEDDINGS.with_vectors(encoder.config.token_width)),
        (NETWORK, networks, NETWORK_EMBEDDINGS.with_vectors(encoder.config.dimension)),
    ):
        write_parquet(pa.Table.from_pylist(rows, schema=schema), lake.embeddings(level, version, batch))
    return version, len(networks)


def _revisions(path: Path) -> dict[str, str]:
    table = pq.read_table(path, columns=["model_id", "revision"])
    return dict(zip(table["model_id"].to_pylist(), table["revision"].to_pylist(), strict=True))


def embedded_batches(lake: Lake, version: str) -> dict[str, int]:
    """Batches whose embeddings of this encoder version are in the lake, and when they were written (nanoseconds)."""
    layers, networks = (
        batch_files(lake.embeddings(level, version, "x").parent) for level in (LAYER, NETWORK)
    )
    return {batch: written for batch, written in networks.items() if batch in layers}

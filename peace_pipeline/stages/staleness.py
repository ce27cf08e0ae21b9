"""What is stale: for each batch, the first stage of the lineage that has to be done again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from peace_pipeline.encoder.store import current_version
from peace_pipeline.index.tables import indexed_models
from peace_pipeline.lake import Lake
from peace_pipeline.lake.query import query
from peace_pipeline.stages.embed import NETWORK, embedded_batches
from peace_pipeline.stages.order import EMBED, EXTRACT, INDEX, LAYERS
from peace_pipeline.weights.layer_table import is_read_alike
from peace_pipeline.zoo.current import NEWEST

if TYPE_CHECKING:
    import pyarrow as pa


_UNINDEXED = f"""
    WITH newest AS ({NEWEST}),
    embedded AS (
        SELECT DISTINCT model_id, revision, encoder_version, parse_filename(filename, true) AS batch
        FROM read_parquet($embeddings, filename = true)
    )
    SELECT DISTINCT newest.batch FROM newest JOIN embedded USING (model_id, revision, batch)
    LEFT JOIN indexed USING (model_id, revision, encoder_version)
    WHERE newest.status = 'new' AND indexed.model_id IS NULL
    UNION
    SELECT newest.batch FROM newest JOIN indexed USING (model_id)
    WHERE newest.status <> 'new' OR newest.revision <> indexed.revision
"""


def stale_batches(lake: Lake) -> dict[str, str]:
    """Batch → the first stage to be done again, for every batch that is missing, failed, read by an earlier version of
    PEACE, or of another encoder.

    What counts is what lies in the lake and in the index, so it doesn't matter how a batch became stale.
    Without an encoder nothing after the layer tables is stale. While the index serves an older encoder it waits for
    the last batch to be embedded, so until then no batch has to be indexed.
    """
    batches = lake.batches()
    version = current_version(lake)
    embedded = embedded_batches(lake, version) if version else set()
    stale = {}
    for batch in batches:
        if not lake.inventory(batch).exists():
            stale[batch] = EXTRACT
        elif not (lake.layers(batch).exists() and _is_wired(lake, batch)):
            stale[batch] = LAYERS
        elif version and batch not in embedded:
            stale[batch] = EMBED
    indexed = indexed_models(lake)
    waiting = bool(stale) and bool(set(indexed["encoder_version"].to_pylist()) - {version})
    if version and embedded and not waiting:
        for batch in _unindexed(lake, version, indexed):
            stale.setdefault(batch, INDEX)
    return dict(sorted(stale.items()))


def _is_wired(lake: Lake, batch: str) -> bool:
    return lake.wirings(batch).exists() and is_read_alike(lake.wirings(batch))


def _unindexed(lake: Lake, version: str, indexed: pa.Table) -> list[str]:
    table = query(
        _UNINDEXED,
        {"indexed": indexed},
        zoo=lake.zoo("[!.]*"),
        embeddings=lake.embeddings(NETWORK, version, "[!.]*"),
    )
    return table["batch"].to_pylist()

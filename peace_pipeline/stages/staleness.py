"""What is stale: for each batch, the first stage of the lineage that has to be done again."""

from __future__ import annotations

from peace_pipeline.encoder.store import current_version
from peace_pipeline.index.settled import Settled
from peace_pipeline.index.tables import served_version
from peace_pipeline.lake import Lake, batch_files
from peace_pipeline.stages.embed import embedded_batches
from peace_pipeline.stages.index import batches_in_index, reading
from peace_pipeline.stages.order import EMBED, EXTRACT, INDEX, LAYERS
from peace_pipeline.weights.layer_table import is_read_alike
from peace_pipeline.zoo.current import Current


def stale_batches(lake: Lake) -> dict[str, str]:
    """Batch → the first stage to be done again, for every batch that is missing, failed, read by an earlier version of
    PEACE, or of another encoder.

    What counts is what lies in the lake and in the index, so it doesn't matter how a batch became stale. Of a batch
    that went through to the index only the names and times of its files are looked at: a later model revision is in
    a later batch, and what is done again has a later time.
    Without an encoder nothing after the layer tables is stale. While the index serves an older encoder it waits for
    the last batch to be embedded, so until then no batch has to be indexed.
    """
    batches, version, settled = Current(lake).batches(), current_version(lake), batches_in_index(lake)
    inventories, layers, wirings = (
        batch_files(table("x").parent) for table in (lake.inventory, lake.layers, lake.wirings)
    )
    embedded = embedded_batches(lake, version) if version else {}
    stale = {}
    for batch in batches:
        if batch not in inventories:
            stale[batch] = EXTRACT
        elif batch not in layers or batch not in wirings or not _is_read_alike(lake, batch, settled):
            stale[batch] = LAYERS
        elif version and batch not in embedded:
            stale[batch] = EMBED
    if version and not (stale and served_version(lake) not in (None, version)):
        expected = {batch: Settled(version, reading(), time) for batch, time in embedded.items()}
        stale |= {
            batch: INDEX for batch in batches if batch not in stale and settled.get(batch) != expected[batch]
        }
    return dict(sorted(stale.items()))


def _is_read_alike(lake: Lake, batch: str, settled: dict[str, Settled]) -> bool:
    return (batch in settled and settled[batch].reading == reading()) or is_read_alike(lake.wirings(batch))

"""What is stale: for each batch, the first stage of the lineage that has to be done again."""

from __future__ import annotations

import time
from pathlib import Path

from peace_pipeline.encoder.store import current_version
from peace_pipeline.index.settled import Settled, settled_batches
from peace_pipeline.index.tables import is_outdated
from peace_pipeline.lake import Lake, batch_names
from peace_pipeline.responses.table import is_asked_alike
from peace_pipeline.stages.embed import LAYER, NETWORK, OUTPUT, embedded_batches, written_at
from peace_pipeline.stages.index import reading
from peace_pipeline.stages.order import EMBED, EXTRACT, INDEX, LAYERS, RESPOND
from peace_pipeline.weights.layer_table import is_read_alike
from peace_pipeline.zoo.current import Current

_Seen = tuple[object, ...]
_up_to_date: dict[Path, _Seen] = {}
"""Lakes in which nothing was stale when this process last looked, and when their folders had changed."""
_SECOND = 10**9


def stale_batches(lake: Lake) -> dict[str, str]:
    """Batch → the first stage to be done again, for every batch that is missing, failed, read by an earlier version of
    PEACE, or of another encoder.

    What counts is what lies in the lake and in the index, so it doesn't matter how a batch became stale. Of a batch
    that went through to the index only the names and times of its files are looked at: a later model revision is in
    a later batch, and what is done again has a later time. Where nothing was stale and no folder changed since, not
    even these.
    Without an encoder nothing after the layer tables is stale. While the index serves an older encoder, or is of an
    earlier version of PEACE, it waits for the last batch to be embedded, so until then no batch has to be indexed.
    """
    version = current_version(lake)
    seen = _seen(lake, version)
    if _up_to_date.get(lake.root) == seen:
        return {}
    stale = _stale_batches(lake, version)
    if not stale and seen == _seen(lake, version):
        _up_to_date[lake.root] = seen
    return stale


def _seen(lake: Lake, version: str | None) -> _Seen:
    """What all depends on: when the folders of the tables changed, the encoder, the way of reading.

    A folder that changed just now may change again without its time saying so, so it never looks the same twice.
    """
    tables = [lake.zoo("x"), lake.inventory("x"), lake.layers("x"), lake.wirings("x")]
    tables += [lake.responses("x"), lake.index / "x"]
    tables += [lake.embeddings(level, version or "none", "x") for level in (NETWORK, LAYER, OUTPUT)]
    tables += [lake.index / "settled.lance" / "_versions" / "x"]
    now = time.time_ns()
    times = [table.parent.stat().st_mtime_ns if table.parent.exists() else 0 for table in tables]
    return version, reading(), *(now if now - each < _SECOND else each for each in times)


def _stale_batches(lake: Lake, version: str | None) -> dict[str, str]:
    batches, settled = Current(lake).batches(), settled_batches(lake)
    inventories, layers, wirings, responses = (
        batch_names(table("x").parent)
        for table in (lake.inventory, lake.layers, lake.wirings, lake.responses)
    )
    embedded = embedded_batches(lake, version) if version else set()
    stale = {}
    for batch in batches:
        if batch not in inventories:
            stale[batch] = EXTRACT
        elif batch not in layers or batch not in wirings or not _is_read_alike(lake, batch, settled):
            stale[batch] = LAYERS
        elif batch not in responses or not _is_asked_alike(lake, batch, settled):
            stale[batch] = RESPOND
        elif version and (batch not in embedded or _answered_since(lake, version, batch)):
            stale[batch] = EMBED
    if version and not (stale and is_outdated(lake, version)):
        written = written_at(lake, version, (batch for batch in batches if batch not in stale))
        for batch, at in written.items():
            if settled.get(batch) != (version, reading(), at):
                stale[batch] = INDEX
    return dict(sorted(stale.items()))


def _is_read_alike(lake: Lake, batch: str, settled: dict[str, Settled]) -> bool:
    return _is_settled(batch, settled) or is_read_alike(lake.wirings(batch))


def _is_asked_alike(lake: Lake, batch: str, settled: dict[str, Settled]) -> bool:
    return _is_settled(batch, settled) or is_asked_alike(lake.responses(batch))


def _answered_since(lake: Lake, version: str, batch: str) -> bool:
    """Whether the batch's networks were run after they were embedded."""
    times = [
        path.stat().st_mtime_ns for path in (lake.embeddings(NETWORK, version, batch), lake.responses(batch))
    ]
    return times[0] < times[1]


def _is_settled(batch: str, settled: dict[str, Settled]) -> bool:
    return batch in settled and settled[batch].reading == reading()

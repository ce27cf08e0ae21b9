"""Which batches the index holds in full: a small table beside theirs, gone when they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import pyarrow as pa

from peace_pipeline.index.tables import connect, is_complete
from peace_pipeline.lake import Lake
from peace_pipeline.lake.keyed import KeyedTable

_NAME = "settled"
_SCHEMA = pa.schema(
    [
        pa.field("batch", pa.string(), nullable=False),
        pa.field("encoder_version", pa.string(), nullable=False),
        pa.field("reading", pa.string(), nullable=False),
        pa.field("embedded", pa.int64(), nullable=False),
    ]
)


class Settled(NamedTuple):
    """What a batch in the index was made by: an encoder, a way of reading checkpoints, and embeddings that were
    written at ``embedded`` (nanoseconds).
    """

    encoder_version: str
    reading: str
    embedded: int


def settled_batches(lake: Lake) -> dict[str, Settled]:
    """Batch → what it was indexed with; none where the index lacks a table or columns."""
    if not is_complete(lake):
        return {}
    found: dict[str, Settled] = {}
    for rows in _table(lake).scan():
        batches, *columns = (rows[name].to_pylist() for name in _SCHEMA.names)
        found |= zip(batches, map(Settled._make, zip(*columns, strict=True)), strict=True)
    return found


def settle(lake: Lake, batches: Mapping[str, Settled]) -> None:
    """Note that the index holds these batches in full."""
    rows = [{"batch": batch, **entry._asdict()} for batch, entry in batches.items()]
    _table(lake).merge(pa.Table.from_pylist(rows, schema=_SCHEMA))


def unsettle_all(lake: Lake) -> None:
    """Note that the index holds no batch."""
    table = _table(lake)
    if table.exists:
        connect(lake).drop_table(_NAME)
    table.create([])


def _table(lake: Lake) -> KeyedTable:
    return KeyedTable(lake.index, _NAME, _SCHEMA, "batch")

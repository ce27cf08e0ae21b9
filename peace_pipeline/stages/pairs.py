"""The lake's training networks → the table of pairs that the encoder learns from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from peace_pipeline.encoder.members import training_members
from peace_pipeline.encoder.pairs import pairs_between, pairs_schema, pairs_with_itself
from peace_pipeline.encoder.settings import PairSettings
from peace_pipeline.lake import Lake, atomic
from peace_pipeline.lake.tables import PAIRS
from peace_pipeline.symmetry.stored import read_wirings
from peace_pipeline.zoo.listing import Listing, by_batch


def write_pairs(lake: Lake, settings: PairSettings | None = None) -> Counter[str]:
    """Write the pairs of the training networks to the lake, a part in memory at a time; how many have each reason."""
    settings = settings or PairSettings()
    members = training_members(lake, settings)
    schema = pairs_schema(settings)
    counts: Counter[str] = Counter()
    with atomic(lake.pairs) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for part in (pairs_between(members, settings), _pairs_with_themselves(lake, members, settings)):
            for table in part:
                writer.write_table(table.cast(schema))
                counts.update(table["reason"].to_pylist())
    return counts


def _pairs_with_themselves(
    lake: Lake, members: Sequence[Listing], settings: PairSettings
) -> Iterator[pa.Table]:
    for batch, wanted in by_batch(members).items():
        wirings = read_wirings(lake, batch, set(wanted))
        rows = [row for name in wanted for row in pairs_with_itself(name, wirings[name], settings)]
        yield pa.Table.from_pylist(rows, schema=PAIRS.schema)

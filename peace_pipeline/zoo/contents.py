"""What models hold, as hashes of their tensors: which ones are copies of each other."""

from __future__ import annotations

from peace_pipeline.lake import Lake
from peace_pipeline.lake.query import query
from peace_pipeline.zoo.current import NEWEST

CONTENTS = """
    SELECT DISTINCT model_id, revision, content
    FROM (
        SELECT NULL::VARCHAR AS content WHERE false  -- older tables lack the column
        UNION ALL BY NAME FROM read_parquet($inventory, union_by_name = true)
    )
    WHERE content IS NOT NULL
"""
_COPIES = f"""
    SELECT list(model_id ORDER BY model_id) AS copies
    FROM ({NEWEST}) newest JOIN ({CONTENTS}) USING (model_id, revision)
    WHERE newest.status = 'new'
    GROUP BY content
    HAVING count(*) > 1 AND bool_or(batch = $batch)
    ORDER BY copies
"""


def copies(lake: Lake, batch: str) -> list[list[str]]:
    """Models of equal tensors, byte by byte, that a batch's inventory shows: each group has one of the batch."""
    table = query(_COPIES, zoo=lake.zoo("[!.]*"), inventory=lake.inventory("[!.]*"), batch=batch)
    return table["copies"].to_pylist()

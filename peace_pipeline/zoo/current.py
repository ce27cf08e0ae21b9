"""The newest record of every model."""

from __future__ import annotations

from peace_pipeline.lake import Lake
from peace_pipeline.lake.query import query
from peace_pipeline.zoo.record import KnownModel, ModelRecord, from_table

NEWEST = """
    SELECT * EXCLUDE (filename), parse_filename(filename, true) AS batch
    FROM read_parquet($zoo, filename = true)
    QUALIFY row_number() OVER (PARTITION BY model_id ORDER BY batch DESC) = 1
"""


def newest_records(lake: Lake) -> dict[str, ModelRecord]:
    """The newest record of every model ever crawled, deleted ones too."""
    if not lake.batches():
        return {}
    table = query(NEWEST, zoo=lake.zoo("[!.]*"))
    return {record.model_id: record for record in from_table(table.drop_columns(["batch"]))}


_KNOWN = f"""
    SELECT model_id, source, revision, uri, etag, status, reason, batch FROM ({NEWEST})
"""
_PASSING = """
    SELECT DISTINCT model_id, parse_filename(filename, true) AS batch
    FROM (
        SELECT false AS passing WHERE false  -- older tables lack the column
        UNION ALL BY NAME FROM read_parquet($outcomes, filename = true, union_by_name = true)
    )
    WHERE passing
"""


def known_models(lake: Lake) -> dict[str, KnownModel]:
    """What a crawl needs of every model ever crawled, deleted ones too.

    A model that could not be fetched for a passing reason has no etag, so that it is looked at again.
    """
    if not lake.batches():
        return {}
    rows = query(_KNOWN, zoo=lake.zoo("[!.]*")).to_pylist()
    again = {
        (row["model_id"], row["batch"])
        for outcomes in (lake.inventory("[!.]*"), lake.wirings("[!.]*"))
        if any(outcomes.parent.glob(outcomes.name))
        for row in query(_PASSING, outcomes=outcomes).to_pylist()
    }
    return {
        row["model_id"]: KnownModel(
            row["source"],
            row["revision"],
            row["uri"],
            None if (row["model_id"], row["batch"]) in again else row["etag"],
            row["status"],
            row["reason"],
        )
        for row in rows
    }

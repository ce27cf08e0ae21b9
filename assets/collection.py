"""Housekeeping: what nobody needs any more goes, once a day."""

from collections import Counter

import dagster as dg

from peace_pipeline.resources import LakeResource


@dg.asset(group_name="index", kinds={"python", "lancedb"})
def collected_garbage(lake: LakeResource) -> dg.MaterializeResult:
    """Superseded layer tables, old encoders and their embeddings, leftovers and old table versions, deleted."""
    from peace_pipeline.stages.collect import collect

    garbage = collect(lake.open())
    kinds = Counter(one.kind for one in garbage)
    return dg.MaterializeResult(
        metadata={
            "bytes": sum(one.bytes or 0 for one in garbage),
            "deleted": len(garbage),
            "deleted by kind": dg.MetadataValue.json(dict(kinds.most_common())),
        }
    )

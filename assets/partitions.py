"""The batch: what one crawl found new or changed, as a dynamic partition."""

import dagster as dg

from peace_pipeline.lake import Lake

batches = dg.DynamicPartitionsDefinition(name="batch")


def register(instance: dg.DagsterInstance, lake: Lake) -> list[str]:
    """Make every batch in the lake a partition; returns the ones that were none yet."""
    known = set(instance.get_dynamic_partitions("batch"))
    missing = [batch for batch in lake.batches() if batch not in known]
    if missing:
        instance.add_dynamic_partitions("batch", missing)
    return missing

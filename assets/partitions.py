"""The batch: what one crawl found new or changed, as a dynamic partition."""

from itertools import takewhile

import dagster as dg

from peace_pipeline.lake import Lake

batches = dg.DynamicPartitionsDefinition(name="batch")


def register(instance: dg.DagsterInstance, lake: Lake) -> list[str]:
    """Make every batch in the lake a partition; returns the ones that were none yet.

    They are added oldest first and all at once, so from the newest back to one that is known there are no others.
    """
    from peace_pipeline.zoo.current import Current

    newest_first = reversed(Current(lake).batches())
    missing = list(takewhile(lambda batch: not instance.has_dynamic_partition("batch", batch), newest_first))
    if missing:
        instance.add_dynamic_partitions("batch", missing[::-1])
    return missing[::-1]

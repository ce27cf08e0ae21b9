"""Stage 2: checkpoints to tensors to layers, and what the networks answer."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import dagster as dg

from peace_pipeline.assets.catalog import rows
from peace_pipeline.assets.interrupts import unretried
from peace_pipeline.assets.partitions import batches
from peace_pipeline.assets.telling import telling
from peace_pipeline.assets.zoo import RETRY, zoo_crawl
from peace_pipeline.resources import LakeResource, ZooResource

if TYPE_CHECKING:
    from peace_pipeline.stages.outcome import BatchOutcome

_SHOWN = 50


@dg.asset(
    deps=[zoo_crawl],
    partitions_def=batches,
    group_name="weights",
    kinds={"python", "safetensors", "parquet"},
    retry_policy=RETRY,
)
def extracted_weights(
    context: dg.AssetExecutionContext, lake: LakeResource, zoo: ZooResource
) -> dg.MaterializeResult:
    """The batch's checkpoints, verified by sha256 and opened safely: an inventory of their tensors.

    Models whose tensors are equal, byte by byte, are listed as copies.
    """
    from peace_pipeline.stages.extract import extract_batch
    from peace_pipeline.zoo.contents import Contents

    metadata = _run(extract_batch, lake, zoo, context, "Reading weights")
    groups = Contents(lake.open()).copies(context.partition_key)
    listed = dg.MetadataValue.json(groups[:_SHOWN])
    counted = rows(lake.open().inventory(context.partition_key))
    return dg.MaterializeResult(
        metadata={**metadata, **counted, "copies": len(groups), "copies, listed": listed}
    )


@dg.asset(
    deps=[extracted_weights],
    partitions_def=batches,
    group_name="weights",
    kinds={"pytorch", "parquet"},
    retry_policy=RETRY,
)
def layer_tensors(
    context: dg.AssetExecutionContext, lake: LakeResource, zoo: ZooResource
) -> dg.MaterializeResult:
    """The batch's tensors grouped into layers, norms folded, with their neuron groups."""
    from peace_pipeline.stages.layers import layer_batch

    metadata = _run(layer_batch, lake, zoo, context, "Writing layers")
    return dg.MaterializeResult(metadata={**metadata, **rows(lake.open().layers(context.partition_key))})


@dg.asset(
    deps=[layer_tensors],
    partitions_def=batches,
    group_name="responses",
    kinds={"pytorch", "parquet"},
    retry_policy=RETRY,
)
def probe_responses(
    context: dg.AssetExecutionContext, lake: LakeResource, zoo: ZooResource
) -> dg.MaterializeResult:
    """What those of the batch's networks that can be run answer to standard probes, and why the others can't."""
    from peace_pipeline.responses.standard import VERSION
    from peace_pipeline.stages.respond import respond_batch

    home = lake.open()
    with unretried():
        found = respond_batch(
            home,
            context.partition_key,
            zoo.fetcher(home),
            telling(context, "Running networks"),
            limits=zoo.limits(home),
        )
    metadata: dict[str, Any] = {
        **rows(home.responses(context.partition_key)),
        "models": found.models,
        "not run": found.skipped,
        "probes": VERSION,
        "run by": dg.MetadataValue.json(found.run_by),
        "reasons": dg.MetadataValue.json(dict(list(found.reasons.items())[:_SHOWN])),
    }
    return dg.MaterializeResult(metadata=metadata)


def _run(
    stage: Callable[..., "BatchOutcome"],
    lake: LakeResource,
    zoo: ZooResource,
    context: dg.AssetExecutionContext,
    name: str,
) -> dict[str, int]:
    """Run a stage over a batch; how many models went through, and the requests that it took."""
    from peace_pipeline.zoo import traffic

    home, before = lake.open(), traffic.sent()
    with unretried():
        outcome = stage(home, context.partition_key, zoo.fetcher(home), telling(context, name))
    requests = (traffic.sent() - before).total()
    return {"models": outcome.models, "skipped": outcome.skipped, "requests": requests}

"""Stage 2: checkpoints to tensors to layers."""

import dagster as dg

from assets.partitions import batches
from assets.zoo import RETRY, zoo_crawl
from peace_pipeline.progress import track
from resources import LakeResource, ZooResource


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
    """The batch's checkpoints, verified by sha256 and opened safely: an inventory of their tensors."""
    from peace_pipeline.symmetry.extraction import extract_batch
    from peace_pipeline.zoo import traffic

    home, before = lake.open(), traffic.sent()
    outcome = extract_batch(home, context.partition_key, zoo.fetcher(home), track("Reading weights"))
    requests = {f"requests/{method}": count for method, count in (traffic.sent() - before).items()}
    return dg.MaterializeResult(metadata={"models": outcome.models, "skipped": outcome.skipped, **requests})


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
    from peace_pipeline.symmetry.extraction import layer_batch

    home = lake.open()
    outcome = layer_batch(home, context.partition_key, zoo.fetcher(home), track("Writing layers"))
    return dg.MaterializeResult(metadata={"models": outcome.models, "skipped": outcome.skipped})

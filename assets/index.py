"""Stage 4: embeddings and the LanceDB index."""

from collections.abc import Iterator

import dagster as dg

from peace_pipeline.assets.catalog import counted, rows
from peace_pipeline.assets.encoder import peace_encoder
from peace_pipeline.assets.interrupts import unretried
from peace_pipeline.assets.partitions import batches
from peace_pipeline.assets.telling import telling
from peace_pipeline.assets.weights import layer_tensors, probe_responses
from peace_pipeline.assets.zoo import RETRY
from peace_pipeline.resources import LakeResource

_EMBEDDINGS = {
    "layer_embeddings": "One vector a layer of the batch's networks.",
    "network_embeddings": "One vector of unit norm a network of the batch.",
    "output_embeddings": "One vector an output of those of the batch's networks that were run.",
}


@dg.multi_asset(
    specs=[
        dg.AssetSpec(
            key,
            deps=[layer_tensors, probe_responses, peace_encoder],
            description=description,
            group_name="embeddings",
            kinds={"pytorch", "parquet"},
        )
        for key, description in _EMBEDDINGS.items()
    ],
    partitions_def=batches,
    retry_policy=RETRY,
)
def embeddings(context: dg.AssetExecutionContext, lake: LakeResource) -> Iterator[dg.MaterializeResult]:
    """The batch's networks through the current encoder."""
    from peace_pipeline.stages.embed import embed_batch

    home, batch = lake.open(), context.partition_key
    with unretried():
        version, outcome = embed_batch(home, batch, telling(context, "Embedding"))
    for key in _EMBEDDINGS:
        table = home.embeddings(key.removesuffix("_embeddings"), version, batch)
        yield dg.MaterializeResult(
            key,
            metadata={
                "encoder_version": version,
                "networks": outcome.models,
                "skipped": outcome.skipped,
                **rows(table),
            },
        )


@dg.asset(
    deps=list(_EMBEDDINGS),
    partitions_def=batches,
    group_name="index",
    kinds={"lancedb", "duckdb"},
    pool="lancedb",
    retry_policy=RETRY,
)
def lancedb_index(context: dg.AssetExecutionContext, lake: LakeResource) -> dg.MaterializeResult:
    """The batch upserted into `models`, `layers` and `outputs`; after a retraining, all batches at once."""
    from peace_pipeline.stages.index import update_index

    with unretried():
        update = update_index(lake.open(), context.partition_key)
    return dg.MaterializeResult(
        metadata={
            "upserted": update.upserted,
            "deleted": update.deleted,
            "models": update.models,
            **counted(update.models),
            "batches the new encoder has yet to embed": update.waiting,
        }
    )

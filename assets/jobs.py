"""Jobs: what is run together, by the schedules, the sensor and the command line. Each report brings its own."""

from __future__ import annotations

from typing import Any

import dagster as dg

from peace_pipeline.assets import reports
from peace_pipeline.assets.atlas import atlas_job
from peace_pipeline.assets.collection import collected_garbage
from peace_pipeline.assets.encoder import contrastive_pairs, peace_encoder
from peace_pipeline.assets.forgetting import forget_job
from peace_pipeline.assets.index import embeddings, lancedb_index
from peace_pipeline.assets.status import status_job
from peace_pipeline.assets.weights import extracted_weights, layer_tensors, probe_responses
from peace_pipeline.assets.zoo import zoo_crawl
from peace_pipeline.stages import order

_ASSETS = {
    order.EXTRACT: extracted_weights,
    order.LAYERS: layer_tensors,
    order.RESPOND: probe_responses,
    order.EMBED: embeddings,
    order.INDEX: lancedb_index,
}

crawl_job = dg.define_asset_job("crawl", [zoo_crawl], description="Crawl every configured source.")
batch_job = dg.define_asset_job(
    "embed_batch",
    [_ASSETS[stage] for stage in order.BATCH_STAGES],
    description="A batch from checkpoints to the index.",
)
train_job = dg.define_asset_job(
    "train",
    [contrastive_pairs, peace_encoder],
    description="Draw pairs and train an encoder on what is in the lake.",
)
collection_job = dg.define_asset_job(
    "collect", [collected_garbage], description="Delete what nobody needs any more."
)
all_jobs: list[Any] = [
    crawl_job,
    batch_job,
    train_job,
    collection_job,
    forget_job,
    status_job,
    atlas_job,
    reports.after_training_job,
    *reports.jobs,
]


def keys_from(stage: str, *, has_encoder: bool) -> list[dg.AssetKey]:
    """The keys of the assets of ``stage`` and of every stage after it that can run."""
    stages = order.stages_from(stage, has_encoder=has_encoder)
    return [key for stage in stages for key in sorted(_ASSETS[stage].keys)]

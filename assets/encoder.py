"""Stage 3: pairs and the encoder. Neither runs by itself: new models never retrain anything."""

import dagster as dg

from peace_pipeline.assets.interrupts import interruptible
from peace_pipeline.assets.weights import layer_tensors
from peace_pipeline.progress import track
from peace_pipeline.resources import LakeResource


class TrainingConfig(dg.Config):
    """Settings of a training; see :class:`peace_pipeline.encoder.training.Settings`."""

    epochs: int = 40
    seed: int = 0
    variant: str = "full"


@dg.asset(deps=[layer_tensors], group_name="encoder", kinds={"duckdb", "parquet"})
def contrastive_pairs(lake: LakeResource) -> dg.MaterializeResult:
    """Anchors, positives and negatives among the training runs, with the reason for every pair."""
    from collections import Counter

    from peace_pipeline.encoder.pairs import write_pairs

    table = write_pairs(lake.open())
    reasons = Counter(table["reason"].to_pylist())
    return dg.MaterializeResult(
        metadata={"pairs": len(table), **{f"pairs/{k}": v for k, v in reasons.items()}}
    )


@dg.asset(deps=[contrastive_pairs], group_name="encoder", kinds={"pytorch", "mlflow", "safetensors"})
def peace_encoder(lake: LakeResource, config: TrainingConfig) -> dg.MaterializeResult:
    """The trained encoder, chosen by validation; it becomes the current one."""
    from peace_pipeline.encoder.training import Settings, TooFewNetworks, train

    settings = Settings(epochs=config.epochs, seed=config.seed, variant=config.variant)
    try:
        with interruptible():
            trained = train(lake.open(), settings, track("Training the encoder"))
    except TooFewNetworks as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    return dg.MaterializeResult(
        metadata={
            "encoder_version": trained.encoder_version,
            "epochs": trained.epochs,
            "validation_map": trained.validation_map,
            "seconds": trained.seconds,
        }
    )

"""Stage 3: pairs and the encoder. Neither runs by itself: new models never retrain anything."""

from typing import Any

import dagster as dg
from pydantic import BaseModel, create_model

from peace_pipeline.assets.catalog import counted
from peace_pipeline.assets.interrupts import unretried
from peace_pipeline.assets.pages import figures, tracked
from peace_pipeline.assets.telling import telling
from peace_pipeline.assets.weights import layer_tensors, probe_responses
from peace_pipeline.encoder.settings import PairSettings, Settings
from peace_pipeline.resources import LakeResource


def _config(name: str, settings: type[BaseModel]) -> type[dg.Config]:
    """Settings of the library as an asset's config: their names, bounds and descriptions."""
    fields: dict[str, Any] = {key: (field.annotation, field) for key, field in settings.model_fields.items()}
    return create_model(name, __base__=dg.Config, __doc__=settings.__doc__, **fields)


PairConfig = _config("PairConfig", PairSettings)
TrainingConfig = _config("TrainingConfig", Settings)


@dg.asset(deps=[layer_tensors], group_name="encoder", kinds={"parquet"})
def contrastive_pairs(lake: LakeResource, config: PairConfig) -> dg.MaterializeResult:  # type: ignore[valid-type]
    """Anchors, positives and negatives among the training runs, with the reason for every pair."""
    from peace_pipeline.stages.pairs import write_pairs

    reasons = write_pairs(lake.open(), PairSettings(**config.model_dump()))  # type: ignore[attr-defined]
    return dg.MaterializeResult(
        metadata={
            "pairs": reasons.total(),
            **counted(reasons.total()),
            "pairs by reason": dg.MetadataValue.json(dict(reasons.most_common())),
        }
    )


@dg.asset(
    deps=[contrastive_pairs, probe_responses],
    group_name="encoder",
    kinds={"pytorch", "mlflow", "safetensors"},
)
def peace_encoder(
    context: dg.AssetExecutionContext,
    lake: LakeResource,
    config: TrainingConfig,  # type: ignore[valid-type]
) -> dg.MaterializeResult:
    """The trained encoder, chosen by validation; it becomes the current one."""
    from peace_pipeline.encoder.store import NoEncoder
    from peace_pipeline.stages.train import EXPERIMENT, NoPairs, TooFewNetworks, train

    settings = Settings(**config.model_dump())  # type: ignore[attr-defined]
    try:
        with unretried():
            trained = train(lake.open(), settings, telling(context, "Training the encoder"))
    except (NoEncoder, NoPairs, TooFewNetworks) as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    return dg.MaterializeResult(
        metadata={
            "encoder_version": trained.encoder_version,
            "epochs": trained.epochs,
            **figures(
                {"validation_map": trained.validation_map}
                | {
                    f"validation_map_{sense}": found
                    for sense, found in trained.senses.items()
                    if sense != "both"
                }
            ),
            "seconds": round(trained.seconds, 1),
            "mlflow": tracked(lake.open(), EXPERIMENT, trained.run_id),
        }
    )

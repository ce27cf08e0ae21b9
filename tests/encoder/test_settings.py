"""Every setting of a training is an option of the command line and a field of an asset's config, with its bounds."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import typer
from pydantic import BaseModel, ValidationError

from peace_pipeline.assets.encoder import PairConfig, TrainingConfig
from peace_pipeline.cli.app import app
from peace_pipeline.encoder.config import VARIANTS
from peace_pipeline.encoder.losses import LOSSES, MINERS
from peace_pipeline.encoder.settings import PairSettings, Settings

MODELS = (Settings, PairSettings)
OUT_OF_BOUNDS: dict[str, Any] = {
    "epochs": 0, "seed": -1, "variant": "none", "batch_size": 1, "learning_rate": 0.0, "weight_decay": -1.0,
    "loss": "none", "miner": "none", "temperature": 0.0, "margin": 3.0, "twin_margin": 2.0, "twin_weight": -1.0,
    "validation": 0, "networks": 1, "largest": 0, "pairs": 0, "far_off": -0.1, "noise": float("inf"),
    "weight_dropout": 1.1, "broken": -0.1, "relabelled": 1.1, "joined": -0.1, "patience": 0, "spoilt_margin": -2.0,
    "accuracy_weight": -1.0, "start": 3, "without": "vit", "tasks": 0, "widest": 0, "deepest": 0,
    "left_out": ["colour"],
}  # fmt: skip


def test_options_of_train_are_the_settings() -> None:
    command = typer.main.get_command(app).commands["train"]  # type: ignore[attr-defined]
    options = {option.name: option for option in command.get_params(typer.Context(command))}
    fields = {name: field for model in MODELS for name, field in model.model_fields.items()}
    assert options.keys() == fields.keys() | {"home", "as_json", "help"}
    for name, field in fields.items():
        assert (options[name].default, options[name].help) == (field.default, field.description)
    for name, entries in (("variant", VARIANTS), ("loss", LOSSES), ("miner", MINERS)):
        assert get_args(fields[name].annotation) == tuple(entries)


@pytest.mark.parametrize(("config", "model"), [(TrainingConfig, Settings), (PairConfig, PairSettings)])
def test_configs_of_the_assets_are_the_settings(config: Any, model: type[BaseModel]) -> None:
    assert config().model_dump() == model().model_dump()
    schema = config.to_config_schema().as_field().config_type.fields
    assert {name: field.description for name, field in schema.items()} == {
        name: field.description for name, field in model.model_fields.items()
    }


@pytest.mark.parametrize("model", MODELS)
def test_values_out_of_bounds_are_refused(model: type[BaseModel]) -> None:
    for name in model.model_fields:
        with pytest.raises(ValidationError, match=name):
            model(**{name: OUT_OF_BOUNDS[name]})
    with pytest.raises(ValidationError, match="colour"):
        model(colour="red")

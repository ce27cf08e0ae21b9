"""The encoder that the package ships: a lake's own, beside a card that says what it learned from and how."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from peace_pipeline.encoder import store
from peace_pipeline.encoder.config import EncoderConfig
from peace_pipeline.encoder.settings import PairSettings, Settings
from peace_pipeline.lake import Lake
from peace_pipeline.zoo.listing import VALIDATION, Listing, listings
from peace_pipeline.zoo.trained.sources import SPLITS

SENSES = ("both", "weights", "responses")
_TEMPLATE = Path(__file__).with_name("templates") / "card.md"


def ship(lake: Lake, folder: Path = store.PACKAGED) -> str:
    """Copy the encoder that was trained last in the lake to ``folder``, with its card; returns its version.

    Raises:
        NoEncoder: where the lake has none of its own.
    """
    version = store.own_version(lake)
    if version is None:
        raise store.NoEncoder(lake)
    folder.mkdir(parents=True, exist_ok=True)
    for name in store.FILES:
        shutil.copyfile(lake.encoders / version / name, folder / name)
    config = json.loads((folder / store.CONFIG).read_text())
    _card(version, config, listings(lake)).save(folder / "README.md")
    return version


def _card(version: str, config: dict[str, Any], networks: list[Listing]) -> ModelCard:
    training = config["training"]
    settings = Settings(**{name: value for name, value in training.items() if name in Settings.model_fields})
    data = ModelCardData(
        license="apache-2.0", library_name="peace-pipeline", tags=["weight-space", "network-retrieval"]
    )
    return ModelCard.from_template(
        data,
        template_path=str(_TEMPLATE),
        version=version,
        dimension=EncoderConfig(**config["encoder"]).dimension,
        networks=training["networks"],
        architectures=sorted({one.architecture for one in networks if one.architecture}),
        sides=list(_sides(networks)),
        settings=list(_options(training)),
        seed=settings.seed,
        epochs=settings.epochs,
        validated=min(settings.validation, sum(one.split == VALIDATION for one in networks)),
        **{sense: "–" for sense in SENSES}
        | {sense: f"{found:.3f}" for sense, found in training["senses"].items()},
    )


def _sides(networks: list[Listing]) -> Iterator[dict[str, Any]]:
    """For each side of the split how many networks and tasks there are, and of which kinds of data."""
    for side, kinds in SPLITS.items():
        tasks = [one.task.partition(" · ")[2] for one in networks if one.split == side and one.task]
        present = {task.rsplit("-", 2)[0] for task in tasks}
        titles = [kind.title for name, kind in kinds.items() if name in present]
        yield {"name": side, "networks": len(tasks), "tasks": len(set(tasks)), "kinds": titles}


def _options(training: dict[str, Any]) -> Iterator[str]:
    """The settings that are not as usual, as options of `peace train`."""
    for kind, values in ((Settings, training), (PairSettings, training.get("pairs", {}))):
        for name, field in kind.model_fields.items():
            if name not in ("seed", "epochs") and values.get(name, field.default) != field.default:
                yield f"`--{name.replace('_', '-')} {values[name]}`"

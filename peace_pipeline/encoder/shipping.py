"""The encoder that the package ships: a lake's own, beside a card that says what it learned from and how."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from peace_pipeline.encoder import store
from peace_pipeline.encoder.card import model_card
from peace_pipeline.lake import Lake
from peace_pipeline.zoo.listing import Listing, listings
from peace_pipeline.zoo.trained.sources import SPLITS

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
    training = json.loads((folder / store.CONFIG).read_text())["training"]
    _card(version, training, listings(lake)).save(folder / "README.md")
    return version


def _card(version: str, training: dict[str, Any], networks: list[Listing]) -> ModelCard:
    data = ModelCardData(
        license="apache-2.0", library_name="peace-pipeline", tags=["weight-space", "network-retrieval"]
    )
    sides, told = list(_sides(networks)), model_card(version, training)
    return ModelCard.from_template(data, template_path=str(_TEMPLATE), told=told, sides=sides)


def _sides(networks: list[Listing]) -> Iterator[dict[str, Any]]:
    """For each side of the split how many networks and tasks there are, and of which kinds of data."""
    for side, kinds in SPLITS.items():
        tasks = [one.task.partition(" · ")[2] for one in networks if one.split == side and one.task]
        present = {task.rsplit("-", 2)[0] for task in tasks}
        titles = [kind.title for name, kind in kinds.items() if name in present]
        yield {"name": side, "networks": len(tasks), "tasks": len(set(tasks)), "kinds": titles}

"""The encoder that the package ships: a lake's own, beside a card that says what it learned from and how."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from peace_pipeline.encoder import store
from peace_pipeline.encoder.card import model_card
from peace_pipeline.lake import Lake
from peace_pipeline.zoo.listing import listings


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
    (folder / "README.md").write_text(model_card(version, training, listings(lake)))
    return version

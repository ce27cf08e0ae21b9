"""The card of an encoder: what it was trained on, how well it does and by which command."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData

from peace_pipeline.encoder.settings import PairSettings, Settings
from peace_pipeline.zoo.listing import Listing
from peace_pipeline.zoo.trained.sources import SPLITS

_TEMPLATE = Path(__file__).with_name("templates") / "card.md"
_SENSES = {
    "both": "all that is known of it",
    "weights": "its weights alone",
    "responses": "its answers alone (among networks that were run)",
}


def model_card(version: str, training: Mapping[str, Any], zoo: Sequence[Listing] = ()) -> str:
    """Markdown about an encoder, from the details of its ``training`` that are stored beside its weights.

    The one that the package ships has a ``zoo``, the networks of the recipe `pretraining`, and says more.
    """
    data = ModelCardData(
        license="apache-2.0" if zoo else None,
        library_name="peace-pipeline",
        tags=["weight-space", "network-retrieval"],
    )
    senses = [
        (words, training["senses"][name]) for name, words in _SENSES.items() if name in training["senses"]
    ]
    card = ModelCard.from_template(
        data,
        template_path=str(_TEMPLATE),
        version=version,
        training=training,
        senses=senses,
        sides=list(_sides(zoo)) if zoo else [],
    )
    return str(card)


def training_command(settings: Settings, pairs: PairSettings) -> str:
    """The `peace train` that trains by these settings."""
    given = pairs.model_dump(exclude_defaults=True) | settings.model_dump(exclude_defaults=True)
    options = (
        f"--{name.replace('_', '-')} {shlex.quote(str(one))}"
        for name, value in given.items()
        for one in (value if isinstance(value, list) else [value])
    )
    return " ".join(["peace train", *options])


def _sides(zoo: Sequence[Listing]) -> Iterator[dict[str, Any]]:
    """For each side of the split how many networks and tasks there are, and of which kinds of data."""
    for side, kinds in SPLITS.items():
        tasks = [one.task.partition(" · ")[2] for one in zoo if one.split == side and one.task]
        present = {task.rsplit("-", 2)[0] for task in tasks}
        titles = [kind.title for name, kind in kinds.items() if name in present]
        yield {"name": side, "networks": len(tasks), "tasks": len(set(tasks)), "kinds": titles}

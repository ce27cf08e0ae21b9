"""The card of an encoder: what it was trained on, how well it does and by which command."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from peace_pipeline.encoder.settings import PairSettings, Settings

_SENSES = {
    "both": "all that is known of it",
    "weights": "its weights alone",
    "responses": "its answers alone (among networks that were run)",
}


def model_card(version: str, training: Mapping[str, Any]) -> str:
    """Markdown about an encoder, from the details of its ``training`` that are stored beside its weights."""
    kinds = ", ".join(f"{name} ({count:,})" for name, count in training["architectures"].items())
    figures = "\n".join(
        f"| {words} | {training['senses'][name]:.3f} |"
        for name, words in _SENSES.items()
        if name in training["senses"]
    )
    return f"""# PEACE encoder {version}

Embeds networks by their weights and by what they answer to standard probes, so that networks of one task lie together.

Begun from {training.get("start", "scratch")}.
Trained on {training["networks"]:,} networks of {training["tasks"]:,} tasks: {kinds}.

Chosen among {training["epochs"]:,} epochs by same-task retrieval among {training["validation_networks"]:,} networks of
other training runs:

| a network is known by | MAP |
|---|---|
{figures or "| (there was none) | |"}

These are figures of the networks that it was chosen by: expect less on others.

The command, on a lake of the same networks:

    {training["command"]}
"""


def training_command(settings: Settings, pairs: PairSettings) -> str:
    """The `peace train` that trains by these settings."""
    given = pairs.model_dump(exclude_defaults=True) | settings.model_dump(exclude_defaults=True)
    options = (
        f"--{name.replace('_', '-')} {one}"
        for name, value in given.items()
        for one in (value if isinstance(value, list) else [value])
    )
    return " ".join(["peace train", *options])

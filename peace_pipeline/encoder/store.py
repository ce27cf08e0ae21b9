"""Encoders in the lake: safetensors and a config each, under a version that is a hash of both."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from peace_pipeline.lake import Lake, atomic

if TYPE_CHECKING:
    from peace_pipeline.encoder.model import Encoder

_WEIGHTS, _CONFIG, _CURRENT = "model.safetensors", "config.json", "current"
_FORMAT = 2
"""Of the encoder's parameters: those of another format can't be loaded, and count as none."""


class NoEncoder(Exception):
    """The lake has no encoder yet."""

    def __init__(self, lake: Lake) -> None:
        super().__init__(
            f"no encoder in {lake.root}: `peace run` trains one when there are at least 64 small networks "
            "(a `trained` source in peace.toml gives them)"
        )


def save(lake: Lake, encoder: Encoder, training: dict[str, object]) -> str:
    """Store an encoder with what it was trained by, make it the current one and return its version."""
    from safetensors.torch import save as serialise

    weights = serialise({name: tensor.contiguous() for name, tensor in encoder.state_dict().items()})
    described = {"format": _FORMAT, "encoder": asdict(encoder.config), "training": training}
    config = json.dumps(described, indent=2, sort_keys=True)
    version = hashlib.sha256(config.encode() + weights).hexdigest()[:12]
    lake.encoders.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".", dir=lake.encoders))
    (folder / _WEIGHTS).write_bytes(weights)
    (folder / _CONFIG).write_text(config)
    folder.chmod(0o755)
    target = lake.encoders / version
    if target.exists():
        shutil.rmtree(folder)
    else:
        folder.rename(target)
    with atomic(lake.encoders / _CURRENT) as temporary:
        temporary.write_text(version)
    return version


def current_version(lake: Lake) -> str | None:
    """The version of the current encoder, or ``None`` where there is none that can be loaded."""
    try:
        version = (lake.encoders / _CURRENT).read_text().strip()
        config = json.loads((lake.encoders / version / _CONFIG).read_text())
    except FileNotFoundError:
        return None
    return version if config.get("format") == _FORMAT else None


def load(lake: Lake, version: str | None = None) -> tuple[str, Encoder]:
    """The current encoder (or that of ``version``) in evaluation mode, with its version.

    Raises:
        NoEncoder: where there is none.
    """
    from safetensors.torch import load_file

    from peace_pipeline.encoder.config import EncoderConfig
    from peace_pipeline.encoder.model import Encoder

    version = version or current_version(lake)
    if version is None:
        raise NoEncoder(lake)
    folder = lake.encoders / version
    config = json.loads((folder / _CONFIG).read_text())
    encoder = Encoder(EncoderConfig(**config["encoder"]))
    encoder.load_state_dict(load_file(folder / _WEIGHTS))
    return version, encoder.eval()

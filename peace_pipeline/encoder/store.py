"""Encoders: safetensors and a config each, under a version that is a hash of both.

The package ships one, and a lake uses it until it has one of its own.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peace_pipeline.lake import Lake, atomic

if TYPE_CHECKING:
    from peace_pipeline.encoder.model import Encoder

FILES = _WEIGHTS, CONFIG = "model.safetensors", "config.json"
_CURRENT = "current"
PRETRAINED = "pretrained"
"""What the encoder that the package ships is called where a version may be given."""
FORMAT = 5
"""Of the encoder's parameters: those of another format can't be loaded, and count as none."""

PACKAGED = Path(__file__).with_name("pretrained")
"""The folder of the encoder that the package ships."""


class NoEncoder(Exception):
    """There is no encoder, or not the one that is needed."""

    def __init__(self, lake: Lake, version: str | None = None) -> None:
        super().__init__(lake, version)  # by which it is made again in another process
        self.lake, self.version = lake, version

    def __str__(self) -> str:
        if self.version:
            return (
                f"encoder {self.version} is neither in {self.lake.root} nor in this version of PEACE: `peace encoder` "
                "lists those that are, `peace run` embeds every network by the current one"
            )
        return f"no encoder in {self.lake.root}, nor one in this version of PEACE: `peace train` makes one"


def save(lake: Lake, encoder: Encoder, training: dict[str, object]) -> str:
    """Store an encoder with what it was trained by, make it the current one and return its version."""
    from safetensors.torch import save as serialise

    weights = serialise({name: tensor.contiguous() for name, tensor in encoder.state_dict().items()})
    described = {"format": FORMAT, "encoder": asdict(encoder.config), "training": training}
    config = json.dumps(described, indent=2, sort_keys=True)
    lake.encoders.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".", dir=lake.encoders))
    (folder / _WEIGHTS).write_bytes(weights)
    (folder / CONFIG).write_text(config)
    version = _version(folder)
    _settle(lake, folder, version)
    _make_current(lake, version)
    return version


def _make_current(lake: Lake, version: str) -> None:
    with atomic(lake.encoders / _CURRENT) as temporary:
        temporary.write_text(version)


def keep(lake: Lake, version: str, packaged: Path = PACKAGED) -> None:
    """Copy the packaged encoder into the lake where ``version`` is that one: what it made can then be searched by it
    after another version of PEACE has brought another one. It doesn't become the lake's own."""
    if version == packaged_version(packaged) and not (lake.encoders / version).exists():
        lake.encoders.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".", dir=lake.encoders))
        for name in FILES:
            shutil.copyfile(packaged / name, folder / name)
        _settle(lake, folder, version)


def _settle(lake: Lake, folder: Path, version: str) -> None:
    folder.chmod(0o755)
    target = lake.encoders / version
    if target.exists():
        shutil.rmtree(folder)
    else:
        folder.rename(target)


def current_version(lake: Lake, packaged: Path = PACKAGED) -> str | None:
    """The version of the lake's own encoder, else of the packaged one; ``None`` where neither can be loaded."""
    return own_version(lake) or packaged_version(packaged)


def own_version(lake: Lake) -> str | None:
    """The version of the encoder that was trained last in the lake; ``None`` where none was that can be loaded."""
    try:
        version = (lake.encoders / _CURRENT).read_text().strip()
    except FileNotFoundError:
        return None
    return version if _is_loadable(lake.encoders / version) else None


def use(lake: Lake, name: str, packaged: Path = PACKAGED) -> str:
    """Make an encoder the current one and return its version: one of the lake's own, or ``pretrained``.

    Raises:
        NoEncoder: where there is no such encoder.
    """
    shipped = packaged_version(packaged)
    version = shipped if name == PRETRAINED else name
    if version is None:
        raise NoEncoder(lake, PRETRAINED)
    _folder(lake, version, packaged)
    if version == shipped:
        (lake.encoders / _CURRENT).unlink(missing_ok=True)
    else:
        _make_current(lake, version)
    return version


def versions(lake: Lake, packaged: Path = PACKAGED) -> list[str]:
    """The encoders that can be used: the packaged one, then the lake's own, those trained last first."""
    shipped = packaged_version(packaged)
    own = [
        folder for folder in lake.encoders.glob("[!.]*") if folder.name != shipped and _is_loadable(folder)
    ]
    own.sort(key=lambda folder: folder.stat().st_mtime, reverse=True)
    return [*([shipped] if shipped else []), *(folder.name for folder in own)]


@cache
def packaged_version(folder: Path = PACKAGED) -> str | None:
    """The version of the encoder that the package ships; ``None`` where it ships none."""
    return _version(folder) if _is_loadable(folder) else None


def _version(folder: Path) -> str:
    return hashlib.sha256((folder / CONFIG).read_bytes() + (folder / _WEIGHTS).read_bytes()).hexdigest()[:12]


def _is_loadable(folder: Path) -> bool:
    try:
        return json.loads((folder / CONFIG).read_text()).get("format") == FORMAT
    except (FileNotFoundError, NotADirectoryError):
        return False


def training_of(lake: Lake, version: str, packaged: Path = PACKAGED) -> dict[str, Any]:
    """What the card of an encoder says of its training.

    Raises:
        NoEncoder: where there is no such encoder.
    """
    folder = _folder(lake, version, packaged)
    return json.loads((folder / CONFIG).read_text())["training"]


def load(lake: Lake, version: str | None = None, packaged: Path = PACKAGED) -> tuple[str, Encoder]:
    """The current encoder (or that of ``version``) in evaluation mode, with its version.

    Raises:
        NoEncoder: where there is none, or it is of another format.
    """
    from safetensors.torch import load_file

    from peace_pipeline.encoder.config import EncoderConfig
    from peace_pipeline.encoder.model import Encoder

    version = version or current_version(lake, packaged)
    if version is None:
        raise NoEncoder(lake)
    folder = _folder(lake, version, packaged)
    config = json.loads((folder / CONFIG).read_text())
    encoder = Encoder(EncoderConfig(**config["encoder"]))
    encoder.load_state_dict(load_file(folder / _WEIGHTS))
    return version, encoder.eval()


def _folder(lake: Lake, version: str, packaged: Path) -> Path:
    folder = packaged if version == packaged_version(packaged) else lake.encoders / version
    if not _is_loadable(folder):
        raise NoEncoder(lake, version)
    return folder

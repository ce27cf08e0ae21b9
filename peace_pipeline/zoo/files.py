"""Weight files on disk: which belong to a model, what they hash to, and whether they changed."""

from __future__ import annotations

import errno
import hashlib
import json
import re
import stat
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from natsort import natsorted

from peace_pipeline.zoo.card import CARD, CONFIG, TOKENIZER
from peace_pipeline.zoo.record import ModelFile, ModelRecord

FORMATS = {
    ".safetensors": "safetensors",
    ".bin": "pytorch",
    ".pt": "pytorch",
    ".pth": "pytorch",
    ".ckpt": "pytorch",
    ".jit": "torchscript",
    ".onnx": "onnx",
    ".h5": "hdf5",
    ".hdf5": "hdf5",
    ".keras": "keras",
    ".gguf": "gguf",
    ".msgpack": "flax",
    ".tflite": "tflite",
}
"""File suffix → format, in the order in which a folder that holds several is read: formats with a reader first."""

_SHARD = re.compile(r"(.+)-\d{5}-of-(\d{5})\.\w+")
_NAMES = (
    "model.safetensors",
    "pytorch_model.bin",
    "tf_model.h5",
    "model.onnx",
    "adapter_model.safetensors",
    "adapter_model.bin",
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.bin",
)
_TRAINING_STATE = re.compile(r"(training_args|optimizer|scheduler|scaler|rng_state(_\d+)?)\.(bin|pt|pth)")
_INDEX = re.compile(r".+\.(safetensors|bin)\.index(\.\w+)?\.json")
_MAX_INDEX = 256 << 20


def is_weights(name: str) -> bool:
    """Whether a file name looks like weights, of a format that is read or not; a training's state is none."""
    known = Path(name).suffix.lower() in FORMATS and not name.startswith(".")
    return known and not _TRAINING_STATE.fullmatch(name)


def weights_of(record: ModelRecord, folder: Path) -> list[Path]:
    """A record's weight files, which lie in ``folder``."""
    return [folder / file.path for file in record.files if is_weights(file.path)]


def format_of(name: str) -> str:
    """The format that a weight file's suffix stands for."""
    return FORMATS[Path(name).suffix.lower()]


class AmbiguousWeights(ValueError):
    """A folder holds weight files of which none is plainly the model, or only a part of its shards."""


class ForbiddenShard(AmbiguousWeights):
    """An index of shards names a file outside its folder."""


def choose(names: Iterable[str], indexed: Iterable[str] = ()) -> list[str]:
    """The weight files of a folder that together are its model.

    Formats are preferred in the order of ``FORMATS``; within a format what an index of shards names (``indexed``),
    then a complete set of shards, then the Hub's own names, then a file that is the only one.

    Raises:
        AmbiguousWeights: where no rule picks one, or shards are missing.
        ForbiddenShard: where an index names a file that is not in the folder itself.
    """
    order = list(dict.fromkeys(FORMATS.values()))
    present = natsorted(filter(is_weights, names))
    best = min(order.index(format_of(name)) for name in present)
    files = [name for name in present if order.index(format_of(name)) == best]
    listed = [name for name in indexed if FORMATS.get(Path(name).suffix.lower(), order[best]) == order[best]]
    for name in listed:
        if Path(name).name != name or name == "..":
            raise ForbiddenShard(f"the index of shards names {name[:80]!r}, which is not in its folder")
    if listed and set(listed) <= set(files):
        return natsorted(listed)
    shards = [name for name in files if _SHARD.fullmatch(name)]
    sets = {_SHARD.sub(r"\1/\2", name) for name in shards}
    expected = int(next(iter(sets)).rpartition("/")[2]) if len(sets) == 1 else 0
    if shards and len(shards) == expected:
        return shards
    for name in _NAMES:
        if name in files:
            return [name]
    if listed:
        raise AmbiguousWeights(
            f"{len(set(listed) & set(files))} of {len(listed)} shards that the index names"
        )
    if expected:
        raise AmbiguousWeights(f"{len(shards)} of {expected} shards")
    if len(files) == 1:
        return files
    raise AmbiguousWeights(f"{len(files)} weight files and none is the model: {', '.join(files[:4])}")


def indexed(folder: Path, names: Iterable[str]) -> list[str]:
    """The files that a folder's indexes of shards (``model.safetensors.index.json``) name; none where they are
    damaged."""
    found: set[str] = set()
    for name in filter(_INDEX.fullmatch, names):
        path = folder / name
        try:
            readable = path.is_file() and path.stat().st_size <= _MAX_INDEX
            document = json.loads(path.read_bytes()) if readable else None
        except (OSError, ValueError, RecursionError):
            continue
        shards = document.get("weight_map") if isinstance(document, dict) else None
        if isinstance(shards, dict):
            found |= {shard for shard in shards.values() if isinstance(shard, str)}
    return sorted(found)


def describing(folder: Path) -> list[str]:
    """The files beside the weights that describe a model, as far as they exist."""
    return [name for name in (CONFIG, CARD, TOKENIZER) if (folder / name).is_file()]


def etag(folder: Path, names: Iterable[str]) -> str:
    """A token that changes when one of the files' sizes or modification times does; reads no content."""
    digest = hashlib.sha256()
    for name in names:
        status = (folder / name).stat()
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", name)
        digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def sha256(path: Path) -> str:
    """The file's sha256 in hex, read in blocks."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def matches(path: Path, file: ModelFile) -> bool:
    """Whether the file at ``path`` has the size and the sha256, or its first digits, that ``file`` records."""
    return (file.size is None or path.stat().st_size == file.size) and (
        file.sha256 is None or sha256(path).startswith(file.sha256)
    )


def fingerprint(folder: Path, names: Iterable[str]) -> tuple[str, tuple[ModelFile, ...]]:
    """Hash the files: the revision (a sha256 over all of them), and one entry a file."""
    files = []
    for name in names:
        path = folder / name
        kind = format_of(name) if is_weights(name) else "text"
        files.append(ModelFile(name, path.stat().st_size, sha256(path), kind))
    revision = hashlib.sha256("".join(f"{file.path}\0{file.sha256}\n" for file in files).encode()).hexdigest()
    return revision, tuple(files)


def modified(folder: Path, names: Iterable[str]) -> datetime:
    """When the newest of the files was last modified (UTC)."""
    return datetime.fromtimestamp(max((folder / name).stat().st_mtime for name in names), UTC)

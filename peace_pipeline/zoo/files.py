"""Weight files on disk: which belong to a model, what they hash to, and whether they changed."""

from __future__ import annotations

import errno
import hashlib
import json
import re
import stat
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path, PurePosixPath

from peace_pipeline.zoo.card import CARD, CONFIG, TOKENIZER
from peace_pipeline.zoo.formats import FORMATS as FORMATS
from peace_pipeline.zoo.formats import TEXT, format_of
from peace_pipeline.zoo.networks import Network
from peace_pipeline.zoo.record import ModelFile, ModelRecord

_INDEX = re.compile(r".+\.(safetensors|bin|h5)\.index(\.\w+)?\.json|.+\.weights\.json")
_DESCRIBING = (CONFIG, CARD, TOKENIZER)
_MAX_INDEX = 256 << 20


def weights_of(record: ModelRecord, folder: Path) -> list[Path]:
    """A record's weight files, which lie in ``folder``."""
    return [folder / file.path for file in record.files if file.format != TEXT]


class AmbiguousWeights(ValueError):
    """A folder holds weight files of which none is plainly the model, or only a part of its shards."""


class ForbiddenShard(AmbiguousWeights):
    """An index of shards names a file outside its folder."""


def own(found: Sequence[Network]) -> Network:
    """The network that is the folder's own.

    Raises:
        AmbiguousWeights: where none is, or shards of it are missing.
    """
    if not found:
        raise AmbiguousWeights("no weights")
    if found[0].name:
        shown = ", ".join(network.name for network in found[:4])
        raise AmbiguousWeights(f"{len(found)} networks and none is the folder's own: {shown}")
    if found[0].missing:
        raise AmbiguousWeights(found[0].missing)
    return found[0]


def check_indexed(names: Iterable[str]) -> None:
    """See that what an index of shards names lies beside it.

    Raises:
        ForbiddenShard: where something doesn't.
    """
    for name in names:
        if PurePosixPath(name).name != name or name == "..":
            raise ForbiddenShard(f"the index of shards names {name[:80]!r}, which is not in its folder")


def indexes(folder: Path, names: Iterable[str]) -> list[list[str]]:
    """The files that each of a folder's indexes of shards (``model.safetensors.index.json``) names; damaged ones name
    none."""
    found = ({*weight_map(folder / name).values()} for name in sorted(filter(_INDEX.fullmatch, names)))
    return [sorted({file for some in files for file in some}) for files in found if files]


def weight_map(index: Path) -> Mapping[str, tuple[str, ...]]:
    """Tensor (of Keras: layer) → the files that it is in, as an index of shards says; nothing where it is damaged."""
    try:
        status = index.stat()
    except OSError:
        return {}
    is_readable = stat.S_ISREG(status.st_mode) and status.st_size <= _MAX_INDEX
    return _weight_map(index, status.st_size, status.st_mtime_ns) if is_readable else {}


@lru_cache(maxsize=4)
def _weight_map(index: Path, size: int, modified: int) -> Mapping[str, tuple[str, ...]]:
    """The map of an index of this size and time, which is looked at several times when a model is opened."""
    try:
        document = json.loads(index.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    shards = document.get("weight_map") if isinstance(document, dict) else None
    mapped = shards.items() if isinstance(shards, dict) else ()
    listed = ((name, files if isinstance(files, list) else [files]) for name, files in mapped)
    return {name: tuple(file for file in files if isinstance(file, str)) for name, files in listed}


def describing(folder: Path, parts: Iterable[str] = ()) -> list[str]:
    """The files beside the weights that describe a model, and the config.json of each of its parts, as far as they
    exist."""
    names = [*_DESCRIBING, *(f"{part}/{CONFIG}" for part in parts)]
    return [name for name in names if (folder / name).is_file()]


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
        is_text = PurePosixPath(name).name in _DESCRIBING
        kind = TEXT if is_text else format_of(name)
        files.append(ModelFile(name, path.stat().st_size, sha256(path), kind))
    revision = hashlib.sha256("".join(f"{file.path}\0{file.sha256}\n" for file in files).encode()).hexdigest()
    return revision, tuple(files)


def modified(folder: Path, names: Iterable[str]) -> datetime:
    """When the newest of the files was last modified (UTC)."""
    return datetime.fromtimestamp(max((folder / name).stat().st_mtime for name in names), UTC)

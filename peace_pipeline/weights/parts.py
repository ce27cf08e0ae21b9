"""Models of several parts, each a network in a file or folder of its own, as one checkpoint."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Set
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import torch

from peace_pipeline.weights.tensors import TensorFile, TensorInfo
from peace_pipeline.zoo import files
from peace_pipeline.zoo.card import CONFIG, read_config
from peace_pipeline.zoo.networks import SHARD


class Part:
    """A file whose tensors are called by a part's name: ``unet.conv_in.weight``."""

    def __init__(self, file: TensorFile, prefix: str) -> None:
        self._file, self._prefix = file, prefix

    def inventory(self) -> Iterable[TensorInfo]:
        """See :class:`TensorFile`."""
        for info in self._file.inventory():
            yield replace(info, name=self._prefix + info.name)

    def read(self, name: str, rows: tuple[int, int] | None = None) -> torch.Tensor:
        """See :class:`TensorFile`."""
        return self._file.read(name.removeprefix(self._prefix), rows)


class Bare:
    """The tensors of a file whose names begin with a part's ``prefix`` and with none of ``others``, without it."""

    def __init__(self, file: TensorFile, prefix: str, others: Iterable[str] = ()) -> None:
        self._file, self._prefix = file, prefix
        self._others = tuple(other for other in others if other.startswith(prefix) and other != prefix)

    def inventory(self) -> Iterable[TensorInfo]:
        """See :class:`TensorFile`."""
        for info in self._file.inventory():
            if info.name.startswith(self._prefix) and not info.name.startswith(self._others):
                yield replace(info, name=info.name.removeprefix(self._prefix))

    def read(self, name: str, rows: tuple[int, int] | None = None) -> torch.Tensor:
        """See :class:`TensorFile`."""
        return self._file.read(self._prefix + name, rows)


def part_of(file: TensorFile, prefix: str) -> TensorFile:
    """The file with ``prefix`` before each name."""
    return Part(file, prefix) if prefix else file


def named_parts(paths: Iterable[Path]) -> Mapping[Path, tuple[str, str]]:
    """What each file of a model is called below the folder that all have in common, and what stands before its
    tensors' names (see :func:`prefixes_of`)."""
    paths = list(paths)
    root = root_of(paths)
    places = {path: path.relative_to(root).as_posix() for path in paths}
    several = sum("/" not in place for place in places.values()) > 1
    indexes = files.indexes(root, os.listdir(root)) if several else []
    prefixes = prefixes_of(places.values(), {name for shards in indexes for name in shards})
    return {path: (place, prefixes[place]) for path, place in places.items()}


def root_of(paths: Iterable[Path]) -> Path:
    """The folder that files have in common."""
    parents = [path.parent for path in paths]
    return Path(os.path.commonpath(parents)) if parents else Path()


def prefixes_of(names: Iterable[str], listed: Set[str] = frozenset()) -> dict[str, str]:
    """What stands before the names of tensors of each file of a model, given by its path.

    Files in subfolders of the folder that they have in common are parts called after these. Several files in one
    folder that are no shards, by their names or an index (``listed``), are parts called after themselves.
    """
    paths = {name: PurePosixPath(name) for name in names}
    root = root_of(map(Path, paths))
    loose = [
        name
        for name, path in paths.items()
        if path.parent == PurePosixPath(root) and not SHARD.fullmatch(path.name)
    ]
    found = {}
    for name, path in paths.items():
        prefix = ".".join(path.parent.relative_to(root).parts)
        if not prefix and len(loose) > 1 and name in loose and path.name not in listed:
            prefix = path.stem
        found[name] = prefix and f"{prefix}."
    return found


def config_of_part(folder: Path, name: str) -> dict[str, Any] | None:
    """The config.json nearest to a file in a subfolder of ``folder``, empty where there is none below it; ``None`` for
    a file in the folder itself."""
    parents = [*PurePosixPath(name).parents][:-1]
    if not parents:
        return None
    described = (parent for parent in parents if (folder / parent / CONFIG).is_file())
    return read_config(folder / next(described, parents[0]))

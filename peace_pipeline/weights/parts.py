"""Models of several parts, each a network in a file or folder of its own, as one checkpoint."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import torch

from peace_pipeline.weights.tensors import TensorFile, TensorInfo
from peace_pipeline.zoo import files
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


def part_of(file: TensorFile, prefix: str) -> TensorFile:
    """The file with ``prefix`` before each name."""
    return Part(file, prefix) if prefix else file


def named_parts(paths: Iterable[Path]) -> Mapping[Path, tuple[str, str]]:
    """What each file of a model is called, and what stands before its tensors' names.

    Files in subfolders of the folder that they have in common are parts called after these. Several files in one
    folder that are no shards, by their names or an index, are parts called after themselves.
    """
    paths = list(paths)
    root = Path(os.path.commonpath([path.parent for path in paths])) if paths else Path()
    loose = [path for path in paths if path.parent == root and not SHARD.fullmatch(path.name)]
    indexes = files.indexes(root, os.listdir(root)) if len(loose) > 1 else []
    listed = {name for shards in indexes for name in shards}
    named = {}
    for path in paths:
        place = path.relative_to(root)
        prefix = ".".join(place.parent.parts)
        if not prefix and len(loose) > 1 and path in loose and path.name not in listed:
            prefix = path.stem
        named[path] = (place.as_posix(), prefix and f"{prefix}.")
    return named

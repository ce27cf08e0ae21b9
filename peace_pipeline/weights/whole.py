"""Whether files are a whole network: a shard stands for all of its set, a rank's part of a network for none."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Set
from pathlib import Path

from peace_pipeline.weights.errors import ForbiddenPath, UnreadableCheckpoint
from peace_pipeline.weights.tensors import Described, TensorFile
from peace_pipeline.zoo import files
from peace_pipeline.zoo.formats import is_weights
from peace_pipeline.zoo.networks import whole_of

_RANK = re.compile(r"mp_rank_\d{2,3}(?:_\d{3})?")
"""Folders that Megatron has for the processes that a network was trained by."""


def with_its_shards(place: Path) -> list[Path]:
    """The files of the network of which a file is one: those that an index beside it names, or shards by their names.

    Raises:
        UnreadableCheckpoint: where some are missing, or it is one process's part of a network.
    """
    folder = place.parent
    try:
        names = os.listdir(folder)
    except OSError:  # a folder that may be entered, but not listed
        return [place]
    indexes = [shards for shards in files.indexes(folder, names) if place.name in shards]
    try:
        files.check_indexed(name for shards in indexes for name in shards)
    except files.ForbiddenShard as error:
        raise ForbiddenPath(str(error)) from error
    whole = whole_of(place.name, filter(is_weights, names), indexes)
    if whole.missing:
        raise UnreadableCheckpoint(f"{place.name}: {whole.missing}")
    if ranks := _ranks_beside(folder):
        raise UnreadableCheckpoint(f"{place.name}: {folder.name} is the part of one process of {ranks}")
    return [folder / name for name in whole.files]


def _ranks_beside(folder: Path) -> int:
    """Of how many processes a folder holds one's part, by Megatron's names; 0 where it holds all."""
    if not _RANK.fullmatch(folder.name):
        return 0
    try:
        ranks = sum(bool(_RANK.fullmatch(name)) for name in os.listdir(folder.parent))
    except OSError:
        return 0
    return ranks if ranks > 1 else 0


def check_splits(parts: Mapping[str, TensorFile]) -> None:
    """See that these are as many files as each of them says that its network is split into (GGUF).

    Raises:
        UnreadableCheckpoint: where there are fewer.
    """
    for name, part in parts.items():
        count = part.settings.get("split.count") if isinstance(part, Described) else None
        if isinstance(count, int) and count > len(parts):
            raise UnreadableCheckpoint(f"{name}: one of {count} parts of a network, by its header")


def check_index(prefixes: Mapping[Path, str], tensors: Set[str]) -> None:
    """See that all tensors which an index of shards says are in these safetensors files are there, of each file under
    names with its prefix.

    Raises:
        UnreadableCheckpoint: where one isn't.
    """
    paths = [path for path in prefixes if path.suffix == ".safetensors"]
    for folder in {path.parent for path in paths} if len(paths) > 1 else ():
        own = {path.name: prefixes[path] for path in paths if path.parent == folder}
        for index in folder.glob("*.safetensors.index*.json"):
            for tensor, shards in files.weight_map(index).items():
                for file in own.keys() & shards:
                    if f"{own[file]}{tensor}" not in tensors:
                        raise UnreadableCheckpoint(
                            f"{index.name}: it names a tensor {tensor[:100]!r} that {file[:100]} doesn't have"
                        )

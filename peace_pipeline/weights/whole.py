"""Whether files are a whole network: a shard stands for all of its set, a rank's part of a network for none."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Set
from pathlib import Path

from natsort import natsorted

from peace_pipeline.weights.errors import ForbiddenPath, UnreadableCheckpoint
from peace_pipeline.zoo import files
from peace_pipeline.zoo.networks import SHARD

_RANK = re.compile(
    r"(?P<before>(?:.*?world_size_(?P<of>\d+)_)?.*?rank[_-]?|consolidated\.)(?P<rank>\d+)(?P<after>\D.*)"
)
"""A file that one process of several wrote: ``model_world_size_2_rank_0.pt``, ``consolidated.00.pth``."""
_MAX_INDEX = 256 << 20


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
    listed = files.indexed(folder, names)
    if place.name in listed:
        try:
            files.check_indexed(listed)
        except files.ForbiddenShard as error:
            raise ForbiddenPath(str(error)) from error
        return _all_of(folder, listed, set(names), "shards that the index names")
    if shard := SHARD.fullmatch(place.name):
        own = [name for name in names if (one := SHARD.fullmatch(name)) and one.groups() == shard.groups()]
        if len(own) < int(shard[2]):
            raise UnreadableCheckpoint(f"{place.name}: {len(own)} of {int(shard[2])} shards")
        return [folder / name for name in natsorted(own)]
    _check_rank(place.name, names)
    return [place]


def _all_of(folder: Path, listed: Iterable[str], names: Set[str], what: str) -> list[Path]:
    listed = list(listed)
    if missing := [name for name in listed if name not in names]:
        raise UnreadableCheckpoint(
            f"{len(listed) - len(missing)} of {len(listed)} {what}: there is no {missing[0][:100]}"
        )
    return [folder / name for name in listed]


def _check_rank(name: str, names: Iterable[str]) -> None:
    """Raises :class:`UnreadableCheckpoint` where a file is one process's part and others' are beside it, or its name
    says of how many it is one."""
    part = _RANK.fullmatch(name)
    if part is None:
        return
    of = int(part["of"] or 1)
    others = [
        other
        for other in names
        if (own := _RANK.fullmatch(other)) and own["rank"] != part["rank"]
        and (own["before"], own["after"]) == (part["before"], part["after"])
    ]  # fmt: skip
    if others or of > 1:
        count = max(of, 1 + len(others))
        raise UnreadableCheckpoint(f"{name}: the part of one rank of {count}, and not a whole network")


def check_index(paths: Iterable[Path], tensors: Set[str]) -> None:
    """See that all tensors which an index of shards says are in these safetensors files are there.

    Raises:
        UnreadableCheckpoint: where one isn't.
    """
    paths = [path for path in paths if path.suffix == ".safetensors"]
    for folder in {path.parent for path in paths} if len(paths) > 1 else ():
        own = {path.name for path in paths if path.parent == folder}
        for index in folder.glob("*.safetensors.index*.json"):
            for tensor, file in _mapped(index).items():
                if file in own and tensor not in tensors:
                    raise UnreadableCheckpoint(
                        f"{index.name}: it names a tensor {tensor[:100]!r} that {file[:100]} doesn't have"
                    )


def _mapped(index: Path) -> dict[str, str]:
    """Tensor → file, as an index says; nothing where it is damaged."""
    try:
        readable = index.is_file() and index.stat().st_size <= _MAX_INDEX
        document = json.loads(index.read_bytes()) if readable else None
    except (OSError, ValueError, RecursionError):
        return {}
    mapped = document.get("weight_map") if isinstance(document, dict) else None
    return (
        {key: file for key, file in mapped.items() if isinstance(file, str)}
        if isinstance(mapped, dict)
        else {}
    )

"""The sampled part of a model as one local file: what a byte budget lets through is fetched once and kept."""

from __future__ import annotations

import json
import struct
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import torch

from peace_pipeline.lake import atomic
from peace_pipeline.weights.byte_budget import Sampled, bytes_read, sample
from peace_pipeline.weights.checkpoint import Checkpoint, members_of
from peace_pipeline.weights.errors import UnreadableCheckpoint
from peace_pipeline.weights.formats.safetensors import MAX_HEADER, NAMES_OF_DTYPES, SafetensorsFile
from peace_pipeline.weights.local_blob import local_blob
from peace_pipeline.weights.parts import Bare, part_of, prefixes_of
from peace_pipeline.weights.tensors import Part, TensorInfo
from peace_pipeline.zoo.source import FetchError, Ranged, SourceUnavailable

NAME = "sampled.safetensors"
_PARTS, _PREFIXES = "parts", "prefixes"
_AHEAD = 4


def fetch_sampled(model: Ranged) -> None:
    """Read a part of a model's safetensors files, as far as the budget allows (headers included), into ``NAME`` in
    its folder, where it isn't there yet.

    Raises:
        FetchError: where a file can't be had, is no safetensors file, or the budget is too small.
    """
    path = model.folder / NAME
    if path.is_file():
        return
    try:
        left, files = model.budget, {}
        for blob in model.weights:
            files[blob.name] = SafetensorsFile(blob, limit=min(left, MAX_HEADER))
            left -= files[blob.name].header_size
        prefixes = prefixes_of(files)
        named = {name: part_of(file, prefixes[name]) for name, file in files.items()}
        Checkpoint(named)  # refuses what could not be read again
        _write(sample(named, left), path, prefixes)
    except UnreadableCheckpoint as error:
        raise FetchError(str(error), passing=False) from error
    except SourceUnavailable as error:
        raise FetchError(str(error), passing=True) from error


def _write(files: Mapping[str, Sampled], path: Path, prefixes: Mapping[str, str]) -> None:
    """One safetensors file of the parts; several are fetched at a time."""
    owner = {info.name: file for file in files.values() for info in file.inventory()}
    infos = [info for file in files.values() for info in file.inventory()]
    with atomic(path) as temporary, temporary.open("wb") as stream:
        header = _header(infos, prefixes)
        stream.write(struct.pack("<Q", len(header)) + header)
        _write_data(stream, [(owner[info.name], info.name) for info in infos])


class SampledCopy:
    """A file that :func:`fetch_sampled` wrote."""

    def __init__(self, file: SafetensorsFile) -> None:
        self._file = file

    def inventory(self) -> Iterator[TensorInfo]:
        """See :class:`TensorFile`."""
        parts = json.loads(self._file.metadata[_PARTS])
        return (_with_part(info, parts.get(info.name)) for info in self._file.inventory())

    def read(self, name: str, rows: tuple[int, int] | None = None) -> torch.Tensor:
        """The tensor's part, or those of the part's rows."""
        return self._file.read(name, rows)


@contextmanager
def open_sampled(path: Path) -> Iterator[Checkpoint]:
    """Open what :func:`fetch_sampled` wrote."""
    with local_blob(path) as blob:
        file = SafetensorsFile(blob)
        copy = SampledCopy(file)
        whole = Checkpoint({path.name: copy})
        prefixes = json.loads(file.metadata.get(_PREFIXES, "{}"))
        first = {prefix: name for name, prefix in reversed(prefixes.items())}
        own = {name: Bare(copy, prefix, first) for prefix, name in first.items()}
        whole.members = members_of(own, {name: prefixes[name] for name in own}, path.parent)
        yield whole


def _header(infos: list[TensorInfo], prefixes: Mapping[str, str]) -> bytes:
    entries, parts, end = {}, {}, 0
    for info in infos:
        shape, start, end = list(info.shape), end, end + bytes_read(info)
        if info.part:
            shape[0] = info.part.size
            parts[info.name] = {"height": info.shape[0], "blocks": info.part.blocks}
        dtype = NAMES_OF_DTYPES[getattr(torch, info.dtype)]
        entries[info.name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    metadata = {_PARTS: json.dumps(parts), _PREFIXES: json.dumps(prefixes)}
    return json.dumps({"__metadata__": metadata, **entries}).encode()


def _with_part(info: TensorInfo, part: dict[str, Any] | None) -> TensorInfo:
    if part is None:
        return info
    blocks = tuple((first, last) for first, last in part["blocks"])
    return replace(info, shape=(part["height"], *info.shape[1:]), part=Part(0, blocks))


def _write_data(stream: BinaryIO, tensors: list[tuple[Sampled, str]]) -> None:
    waiting: deque[Future[torch.Tensor]] = deque()

    def write_next() -> None:
        raw = waiting.popleft().result().contiguous().flatten().view(torch.uint8)
        stream.write(raw.numpy().data)

    with ThreadPoolExecutor(_AHEAD, "ranges") as pool:
        for file, name in tensors:
            waiting.append(pool.submit(file.read, name))
            if len(waiting) > _AHEAD:
                write_next()
        while waiting:
            write_next()

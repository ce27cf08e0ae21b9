"""PyTorch's files of before version 1.6: five pickles in a row, then the storages one after another.

PyTorch also pickles a tensor's storage as such a file.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

from peace_pipeline.weights.errors import CorruptFile, ExcessiveSize
from peace_pipeline.weights.formats.pickles import (
    MAX_OPCODES,
    MAX_PICKLE,
    Persistent,
    Pickle,
    UnfinishedPickle,
    loads,
)
from peace_pipeline.weights.formats.storages import Storages, width_of
from peace_pipeline.weights.local_blob import Blob

MAGIC = 0x1950A86A20F9469CFC6C
"""The first pickle (``torch.serialization.MAGIC_NUMBER``)."""

_WINDOW = 1 << 20
"""Bytes that hold the pickles of most files."""

_OPCODES = (10, 10, 1000, MAX_OPCODES, MAX_OPCODES // 4)
"""At most, of the five pickles."""

_COUNT = 8
"""Bytes of the number of values that stands before each storage."""


def opened(blob: Blob) -> tuple[Any, Storages]:
    """The pickled content of a file, and its storages.

    Raises:
        UnreadableCheckpoint: where it is corrupt.
    """
    *_, content, keys = _pickles(blob)
    return content.value, LegacyStorages(blob, keys.value, content.persistent, keys.stop)


class LegacyStorages:
    """Storages one after another, each after its number of values."""

    def __init__(self, blob: Blob, keys: Any, persistent: Iterable[Persistent], start: int) -> None:
        self.blob = blob
        self.swapped = sys.byteorder != "little"
        self._places: dict[str, tuple[int, int]] = {}
        widths = dict(filter(None, map(width_of, persistent)))
        for key in keys if type(keys) is list else []:
            width = widths.get(str(key)) if type(key) in (str, int) else None
            if width is None or str(key) in self._places or start + _COUNT > blob.size:
                raise CorruptFile(f"{blob.name}: its list of storages isn't that of its tensors")
            start += _COUNT
            size = int(blob.read(start - _COUNT, start).view("<i8")[0]) * width
            if not 0 <= size <= blob.size - start:
                raise CorruptFile(f"{blob.name}: a storage of {size:,} bytes goes beyond its end")
            self._places[str(key)] = start, size
            start += size

    def size(self, key: str) -> int:
        if key not in self._places:
            raise CorruptFile("has no storage in the file")
        return self._places[key][1]

    def origin(self, key: str) -> int:
        return self._places[key][0]


def _pickles(blob: Blob) -> list[Pickle]:
    """Magic number, protocol, system, content, keys of the storages; the storages themselves follow."""
    for size in (_WINDOW, MAX_PICKLE):
        window = blob.read(0, min(size, blob.size)).tobytes()
        pickles: list[Pickle] = []
        try:
            for opcodes in _OPCODES:
                pickles.append(loads(blob.name, window, pickles[-1].stop if pickles else 0, opcodes))
            return pickles
        except UnfinishedPickle:
            if size >= blob.size:
                raise
    raise ExcessiveSize(f"{blob.name}: a pickle of more than {MAX_PICKLE:,} bytes")

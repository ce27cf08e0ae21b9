"""fastText's models (``.bin``): the embeddings of words, n-grams of letters and buckets, and the layer that reads their
mean.

Format: ``FastText::saveModel`` of fastText 0.9 (version 12, and 11): magic and version, settings, words with their
counts, pruned buckets, then two matrices, each behind a mark of whether it is quantised.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from peace_pipeline.weights.errors import CorruptFile, ExcessiveSize, UnsupportedFormat
from peace_pipeline.weights.extents import Place
from peace_pipeline.weights.formats.placed import PlacedFile, placed
from peace_pipeline.weights.local_blob import Blob, local_blob

_HEAD = struct.Struct("<2i 12i d 3i 2q")
"""Magic, version, settings, numbers of entries, words, labels, tokens, pruned buckets."""
_MAGIC, _VERSIONS = 793712314, (11, 12)
_DIMENSION, _ENTRIES, _PRUNED = 2, 15, 19
"""Places in it."""
_OF_AN_ENTRY, _OF_A_BUCKET = 9, 8
"""Bytes after an entry's text: count and kind; of a pruned bucket."""
_SIDES = struct.Struct("<?2q")
"""Whether a matrix is quantised, its rows and columns."""
_WINDOW = 1 << 20
"""Bytes of entries that are looked at at once; none is longer."""
MAX_ENTRIES = 8 << 20


class FastTextFile(PlacedFile):
    """An open model of fastText."""

    def __init__(self, blob: Blob, max_entries: int = MAX_ENTRIES) -> None:
        head = _HEAD.unpack(_taken(blob, 0, _HEAD.size))
        if head[0] != _MAGIC:
            raise CorruptFile(f"{blob.name}: not a fastText model")
        if head[1] not in _VERSIONS:
            raise UnsupportedFormat(f"{blob.name}: a fastText model of version {head[1]}, which is not read")
        if not 0 <= head[_ENTRIES] <= max_entries:
            raise ExcessiveSize(f"{blob.name}: a fastText model of {head[_ENTRIES]:,} words")
        at = _after_entries(blob, _HEAD.size, head[_ENTRIES]) + _OF_A_BUCKET * max(head[_PRUNED], 0)
        tensors: dict[str, Place] = {}
        for name in ("embedding.weight", "output.weight"):
            is_quantised, rows, columns = _SIDES.unpack(_taken(blob, at, _SIDES.size))
            if is_quantised:
                raise UnsupportedFormat(f"{blob.name}: a quantised fastText model, which is not read")
            if columns != head[_DIMENSION]:
                raise CorruptFile(f"{blob.name}: {name!r} has {columns:,} columns, not {head[_DIMENSION]:,}")
            at += _SIDES.size
            size = max(rows, 0) * columns * torch.float32.itemsize
            tensors[name] = placed(blob, name, at, size, torch.float32, (rows, columns))
            at += size
        if at != blob.size:
            raise CorruptFile(f"{blob.name}: there are {blob.size - at:,} bytes after its matrices")
        super().__init__(blob, tensors)


@contextmanager
def open_file(path: Path) -> Iterator[FastTextFile]:
    """Open a model of fastText.

    Raises:
        UnreadableCheckpoint: where it is corrupt, quantised or of another kind.
    """
    with local_blob(path) as blob:
        yield FastTextFile(blob)


def _taken(blob: Blob, start: int, size: int) -> bytes:
    if start + size > blob.size:
        raise CorruptFile(f"{blob.name}: a fastText model that is cut off")
    return blob.read(start, start + size).tobytes()


def _after_entries(blob: Blob, start: int, count: int) -> int:
    """The position after so many texts, each of which ends with a zero before its count and kind."""
    window, place = b"", 0
    for _ in range(count):
        end = window.find(0, place)
        if end < 0 or end + _OF_AN_ENTRY >= len(window):
            start += place
            window, place = blob.read(start, min(start + _WINDOW, blob.size)).tobytes(), 0
            end = window.find(0)
            if end < 0 or end + _OF_AN_ENTRY >= len(window):
                raise CorruptFile(f"{blob.name}: a fastText model whose words are cut off")
        place = end + _OF_AN_ENTRY + 1
    return start + place

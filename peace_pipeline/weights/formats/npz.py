"""Archives of NumPy arrays (``.npz``) and single arrays (``.npy``).

Format: numpy.lib.format, versions 1 to 3. Arrays that are stored are read by position, packed ones whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from peace_pipeline.weights.errors import CorruptFile, ExcessiveSize, UnsupportedFormat
from peace_pipeline.weights.extents import Place
from peace_pipeline.weights.formats import zips
from peace_pipeline.weights.formats.placed import PlacedFile, placed
from peace_pipeline.weights.formats.state_dicts import are_data
from peace_pipeline.weights.formats.tensorflow_names import as_pytorch
from peace_pipeline.weights.local_blob import Blob, Bytes, local_blob

MAX_HEADER = 1 << 16
MAX_PACKED = 64 << 20
"""Bytes of a packed array that is read however well it is packed."""
_MOST_PACKED = 100
"""How many times larger than its packed bytes other arrays may be."""

_MAGIC = b"\x93NUMPY"
_HEADER = re.compile(
    r"\s*\{\s*'descr':\s*'([<>|=])([biufcV])(\d+)',\s*'fortran_order':\s*(True|False),\s*"
    r"'shape':\s*\(((?:\d{1,19}L?, ?)*(?:\d{1,19}L?)?)\),?\s*\}\s*"
)
_TEXTS = re.compile(r"'descr':\s*'[<>|=][US]\d+'")
_DTYPES = {
    np.dtype(name).str[1:]: getattr(torch, name)
    for name in (
        "float64",
        "float32",
        "float16",
        "int64",
        "int32",
        "int16",
        "int8",
        "uint8",
        "uint16",
        "uint32",
        "uint64",
    )
} | {"b1": torch.bool, "c8": torch.complex64, "c16": torch.complex128}


class NpzFile(PlacedFile):
    """An open archive of arrays, or a single one."""

    def __init__(self, blob: Blob) -> None:
        self._packed: dict[str, _Packed] = {}
        super().__init__(blob, as_pytorch(blob.name, self._arrays(blob)))

    def read(self, name: str, rows: tuple[int, int] | None = None) -> torch.Tensor:
        """See :class:`TensorFile`."""
        place = self._tensors[name]
        packed = self._packed.get(name)
        if packed is None:
            return super().read(name, rows)
        return (place if rows is None else place.rows(*rows)).read(packed.unpacked())

    def places(self, name: str) -> list[Place]:
        """See :class:`ByPosition`."""
        if name in self._packed:
            raise UnsupportedFormat(f"{self.blob.name}: tensor {name!r} is packed")
        return super().places(name)

    def _arrays(self, blob: Blob) -> dict[str, Place]:
        if not zips.is_zip(blob):
            return _array(blob, "array", "array")
        archive = zips.Archive(blob)
        found: dict[str, Place] = {}
        packed: dict[str, _Packed] = {}
        unpacked = 0
        for member in archive.members.values():
            if not member.name.endswith(".npy"):
                raise UnsupportedFormat(f"{blob.name}: an archive of arrays and of {member.name[:80]!r}")
            name = member.name.removesuffix(".npy")
            if member.is_stored:
                origin = archive.origin_of_stored(member)
                found |= _array(_Window(blob, origin, member.size), name, name, origin)
            else:
                packed[name] = _Packed(archive, member, blob.name)
                unpacked += member.size
                if unpacked > max(MAX_PACKED, _MOST_PACKED * blob.size):
                    raise ExcessiveSize(f"{blob.name}: packed arrays of more than {unpacked:,} bytes")
                found |= _array(packed[name].beginning(), name, name)
        if are_data(found):
            raise UnsupportedFormat(
                f"{blob.name}: arrays of data by their names ({', '.join(found)}), no weights"
            )
        # the same renaming, so that packed arrays are found by the names they get
        new = as_pytorch(blob.name, found)
        self._packed = {
            after: packed[before] for before, after in zip(found, new, strict=True) if before in packed
        }
        return found


class _Window:
    """The part of a file up to the end of an array, from its beginning on."""

    def __init__(self, blob: Blob, origin: int, size: int) -> None:
        self.name, self.size, self.blob = blob.name, origin + size, blob

    def read(self, start: int, stop: int) -> np.ndarray:
        """See :class:`Blob`."""
        return self.blob.read(start, stop)


class _Packed:
    def __init__(self, archive: zips.Archive, member: zips.Member, file: str) -> None:
        self._archive, self._member, self._file = archive, member, file

    def beginning(self) -> Blob:
        """What its header is in."""
        content = self._archive.beginning(self._member, MAX_HEADER + 12)
        return Bytes(self._file, content, self._member.size)

    def unpacked(self) -> Blob:
        """All of it."""
        limit = max(MAX_PACKED, _MOST_PACKED * self._member.stored)
        return Bytes(self._file, self._archive.content(self._member, limit), self._member.size)


def _array(blob: Blob, name: str, shown: str, origin: int = 0) -> dict[str, Place]:
    """The place of an array that begins at ``origin`` and ends with the blob; none of texts."""
    head = blob.read(origin, min(origin + 12, blob.size)).tobytes()
    if len(head) < 12 or not head.startswith(_MAGIC) or head[6] not in (1, 2, 3):
        raise CorruptFile(f"{blob.name}: {shown[:80]!r} is no array of NumPy")
    width = 2 if head[6] == 1 else 4
    length = int.from_bytes(head[8 : 8 + width], "little")
    start = origin + 8 + width + length
    if length > MAX_HEADER:
        raise ExcessiveSize(f"{blob.name}: {shown[:80]!r} has a header of {length:,} bytes")
    if start > blob.size:
        raise CorruptFile(f"{blob.name}: {shown[:80]!r} is cut off")
    header = blob.read(origin + 8 + width, start).tobytes().decode("latin-1")
    match = _HEADER.fullmatch(header)
    if match is None:
        if _TEXTS.search(header):
            return {}
        if "|O" in header or "'descr': [" in header:
            raise UnsupportedFormat(
                f"{blob.name}: {shown[:80]!r} is an array of objects or records, which is not read"
            )
        raise CorruptFile(f"{blob.name}: {shown[:80]!r} has a header that is none of NumPy")
    order, kind, size, by_columns, shape_text = match.groups()
    dtype = _DTYPES.get(kind + size)
    if dtype is None:
        raise UnsupportedFormat(f"{blob.name}: {shown[:80]!r} is of type {kind}{size}, which is not read")
    shape = tuple(int(number.strip(" L")) for number in shape_text.split(",") if number.strip())
    place = placed(
        blob, shown, start, blob.size - start, dtype, shape, swapped=order == ">" and dtype.itemsize > 1
    )
    if by_columns == "True":
        strides, step = [], 1
        for length in shape:
            strides.append(step)
            step *= length
        place = place._replace(strides=tuple(strides))
    return {name: place}


@contextmanager
def open_file(path: Path) -> Iterator[NpzFile]:
    """Open a file of ``numpy.savez``, ``numpy.savez_compressed`` or ``numpy.save``.

    Raises:
        UnreadableCheckpoint: where it is corrupt or of another kind.
    """
    with local_blob(path) as blob:
        yield NpzFile(blob)

"""safetensors: a checked header, then each tensor read by its position; nothing is mapped or kept."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import torch

from peace_pipeline.weights.errors import CorruptFile, DuplicateTensor, ExcessiveSize, UnsupportedFormat
from peace_pipeline.weights.extents import Place, contiguous
from peace_pipeline.weights.local_blob import Blob, local_blob
from peace_pipeline.weights.tensors import MAX_DIMENSIONS, TensorInfo, dtype_name

MAX_HEADER = 100_000_000
"""Bytes; the format's own limit."""

MAX_COMMAS = 2_000_000
"""In a header: eight for each of 250,000 tensors. They are counted first, as parsing takes far more memory."""

_LENGTH = 8
_PIECE = 1 << 20
_METADATA = "__metadata__"
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E4M3FNUZ": torch.float8_e4m3fnuz,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E5M2FNUZ": torch.float8_e5m2fnuz,
    "F8_E8M0": torch.float8_e8m0fnu,
    "C64": torch.complex64,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
NAMES_OF_DTYPES = {dtype: name for name, dtype in _DTYPES.items()}


@dataclass(frozen=True)
class _Entry:
    shape: tuple[int, ...]
    dtype: torch.dtype
    start: int
    stop: int


class SafetensorsFile:
    """An open safetensors file, local or not, whose header takes at most ``limit`` bytes."""

    def __init__(self, blob: Blob, limit: int = MAX_HEADER) -> None:
        self.blob = blob
        self.entries, self.metadata, self.header_size = _header(blob, limit)

    def inventory(self) -> Iterable[TensorInfo]:
        """See :class:`TensorFile`."""
        for name, entry in self.entries.items():
            yield TensorInfo(name, entry.shape, dtype_name(entry.dtype))

    def read(self, name: str, rows: tuple[int, int] | None = None) -> torch.Tensor:
        """See :class:`TensorFile`."""
        entry = self.entries[name]
        shape, start, stop = entry.shape, entry.start, entry.stop
        if rows is not None:
            width = (stop - start) // max(shape[0], 1)
            shape, start, stop = (
                (rows[1] - rows[0], *shape[1:]),
                start + rows[0] * width,
                start + rows[1] * width,
            )
        if start == stop:  # of no bytes torch makes no view in another dtype
            return torch.empty(shape, dtype=entry.dtype)
        return torch.from_numpy(self.blob.read(start, stop)).view(entry.dtype).view(shape)

    def places(self, name: str) -> list[Place]:
        """See :class:`ByPosition`."""
        entry = self.entries[name]
        return [contiguous(entry.start, entry.dtype, entry.shape)]

    def pieces(self, name: str) -> Iterator[torch.Tensor]:
        """See :class:`InPieces`. They are so small that they stay in the processor's cache."""
        entry = self.entries[name]
        for start in range(entry.start, entry.stop, _PIECE):
            raw = self.blob.read(start, min(start + _PIECE, entry.stop))
            yield torch.from_numpy(raw).view(entry.dtype)


@contextmanager
def open_file(path: Path) -> Iterator[SafetensorsFile]:
    """Open a safetensors file.

    Raises:
        UnreadableCheckpoint: where the header or the length of the file is wrong.
    """
    with local_blob(path) as blob:
        yield SafetensorsFile(blob)


def _header(blob: Blob, limit: int) -> tuple[dict[str, _Entry], dict[str, Any], int]:
    """The header's tensors in the order of their bytes, which must fill the file without gap or overlap; its
    metadata; and its size in bytes."""

    def wrong(reason: str) -> NoReturn:
        raise CorruptFile(f"{blob.name}: not a whole safetensors file: {reason}")

    if blob.size < _LENGTH:
        wrong("no header")
    length = int(blob.read(0, _LENGTH).view("<u8")[0])
    if limit < length <= blob.size:
        raise ExcessiveSize(f"{blob.name}: a header of {length:,} bytes, at most {limit:,} are read")
    if length > blob.size - _LENGTH:
        wrong(f"its header of {length:,} bytes goes beyond its end")
    text = blob.read(_LENGTH, _LENGTH + length).tobytes()
    if text.count(b",") > MAX_COMMAS:
        raise ExcessiveSize(f"{blob.name}: a header of more tensors than any network has")
    try:
        header = json.loads(text.decode(), object_pairs_hook=lambda pairs: _unique(blob.name, pairs))
    except (ValueError, RecursionError) as error:
        wrong(f"its header is no JSON ({type(error).__name__})")
    if not isinstance(header, dict):
        wrong("its header is no object")
    metadata = header.pop(_METADATA, {})
    origin = _LENGTH + length
    entries = {name: _entry(blob.name, name, entry, origin) for name, entry in header.items()}
    entries = dict(sorted(entries.items(), key=lambda item: (item[1].start, item[1].stop)))
    end = origin
    for name, entry in entries.items():
        if entry.start != end:
            wrong(f"tensor {name!r} begins at {entry.start - origin:,}, not at {end - origin:,}")
        end = entry.stop
    if end != blob.size:
        wrong(f"its tensors end at {end:,}, the file at {blob.size:,}")
    return entries, metadata, origin


def _unique(file: str, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        twice, _ = Counter(name for name, _ in pairs).most_common(1)[0]
        raise DuplicateTensor(f"{file}: {twice[:80]!r} is twice in its header")
    return content


def _entry(file: str, name: str, entry: Any, origin: int) -> _Entry:
    try:
        kind, shape, (start, stop) = entry["dtype"], entry["shape"], entry["data_offsets"]
        sound = isinstance(kind, str) and all(
            type(number) is int and 0 <= number < 2**63 for number in (*shape, start, stop)
        )
    except (KeyError, TypeError, ValueError):
        sound = False
    if not sound:
        raise CorruptFile(f"{file}: the header's entry for {name!r} makes no sense")
    if len(shape) > MAX_DIMENSIONS:
        raise ExcessiveSize(f"{file}: tensor {name[:80]!r} has {len(shape):,} dimensions")
    if kind not in _DTYPES:
        raise UnsupportedFormat(f"{file}: tensor {name!r} is of type {kind[:40]}, which is not read")
    dtype = _DTYPES[kind]
    if math.prod(shape) * dtype.itemsize != stop - start:
        raise CorruptFile(f"{file}: tensor {name!r} of shape {shape} does not take {stop - start:,} bytes")
    return _Entry(tuple(shape), dtype, origin + start, origin + stop)

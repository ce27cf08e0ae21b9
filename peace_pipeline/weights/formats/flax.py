"""Flax's msgpack files: trees of arrays, walked by position; of the arrays only places are kept.

Formats: the MessagePack specification, and flax.serialization: an array is the extension 1 of (shape, dtype, bytes),
a NumPy scalar the extension 3.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import torch

from peace_pipeline.weights.errors import CorruptFile, DuplicateTensor, ExcessiveSize, UnsupportedFormat
from peace_pipeline.weights.extents import Place
from peace_pipeline.weights.formats.placed import PlacedFile, placed
from peace_pipeline.weights.formats.tensorflow_names import as_pytorch
from peace_pipeline.weights.local_blob import Blob, local_blob
from peace_pipeline.weights.tensors import MAX_DIMENSIONS, MAX_NAME

MAX_ITEMS = 1_000_000
MAX_DEPTH = 64
MAX_TEXT = 64 << 10

_WINDOW = 64 << 10
_ARRAY, _SCALAR = 1, 3
_MAPS = (*range(0x80, 0x90), 0xDE, 0xDF)
_CHUNKED = "__msgpack_chunked_array__"
_SIZED = {0xC4: ("bin", 1), 0xC5: ("bin", 2), 0xC6: ("bin", 4), 0xC7: ("ext", 1), 0xC8: ("ext", 2), 0xC9: ("ext", 4),
          0xD9: ("str", 1), 0xDA: ("str", 2), 0xDB: ("str", 4), 0xDC: ("list", 2), 0xDD: ("list", 4),
          0xDE: ("map", 2), 0xDF: ("map", 4)}  # fmt: skip
_FIXED = {0xC0: 0, 0xC2: 0, 0xC3: 0, 0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4,
          0xD3: 8}  # fmt: skip
_INTEGERS = {0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}
_DTYPES = {
    name: getattr(torch, name)
    for name in (
        "float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "uint16", "uint32",
        "uint64", "bool", "complex64", "complex128",
    )
}  # fmt: skip
_TRAINING = {"opt_state", "opt_states", "optimizer", "optimizer_state", "ema_params"}
"""What a training's state calls what is no network."""


class FlaxFile(PlacedFile):
    """An open file of ``flax.serialization``."""

    def __init__(self, blob: Blob) -> None:
        found = _Tree(blob).arrays()
        found = {name: place for name, place in found.items() if _TRAINING.isdisjoint(name.split("/"))}
        super().__init__(blob, as_pytorch(blob.name, found))


class _Tree:
    def __init__(self, blob: Blob) -> None:
        self._blob, self._at, self._items = blob, 0, 0
        self._window, self._origin = b"", 0
        self._found: dict[str, Place] = {}

    def arrays(self) -> dict[str, Place]:
        """Every array by its path, with slashes."""
        if self._blob.size and self._blob.read(0, 1)[0] not in _MAPS:
            self._wrong("it holds no tree of arrays")
        self._value("", 0)
        if self._at != self._blob.size:
            self._wrong("something follows its end")
        return self._found

    def _value(self, path: str, depth: int) -> None:
        if depth > MAX_DEPTH or len(path) > MAX_NAME:
            raise ExcessiveSize(f"{self._blob.name}: nested deeper, or with longer names, than any network")
        kind, size = self._head()
        if kind == "map":
            for _ in range(size):
                key = self._key()
                if key == _CHUNKED:
                    raise UnsupportedFormat(
                        f"{self._blob.name}: {path[:80]!r} is in chunks, which are not read"
                    )
                self._value(f"{path}/{key}" if path else key, depth + 1)
        elif kind == "list":
            for index in range(size):
                self._value(f"{path}/{index}" if path else str(index), depth + 1)
        elif kind == "ext":
            self._extension(path, size)
        else:
            self._skip(size)

    def _extension(self, path: str, size: int) -> None:
        (code,) = self._take(1)
        stop = self._at + size
        if code not in (_ARRAY, _SCALAR):
            self._skip(size)
            return
        if self._head() != ("list", 3):
            self._wrong(f"{path[:80]!r} is no array")
        shape = self._shape()
        kind, length = self._head()
        name = self._text(length) if kind == "str" else ""
        kind, length = self._head()
        if kind != "bin" or self._at + length != stop:
            self._wrong(f"{path[:80]!r} is no array")
        start, dtype = self._at, _DTYPES.get(name)
        self._skip(length)
        if dtype is None:
            raise UnsupportedFormat(
                f"{self._blob.name}: {path[:80]!r} is of type {name[:40]!r}, which is not read"
            )
        if path in self._found:
            raise DuplicateTensor(f"{self._blob.name}: tensor {path[:80]!r} is there twice")
        self._found[path] = placed(self._blob, path, start, length, dtype, shape)

    def _shape(self) -> tuple[int, ...]:
        kind, length = self._head()
        if kind != "list" or length > MAX_DIMENSIONS:
            self._wrong("an array has no shape")
        return tuple(self._integer() for _ in range(length))

    def _integer(self) -> int:
        (code,) = self._take(1)
        if code < 0x80:
            return code
        if code not in _INTEGERS:
            self._wrong("a size is no number")
        return int.from_bytes(self._take(_INTEGERS[code]), "big")

    def _key(self) -> str:
        kind, size = self._head()
        if kind != "str":
            self._wrong("a key is no text")
        return self._text(size)

    def _text(self, size: int) -> str:
        if size > MAX_TEXT:
            raise ExcessiveSize(f"{self._blob.name}: a name of {size:,} bytes")
        try:
            return self._take(size).decode()
        except UnicodeDecodeError:
            self._wrong("a name is no text")

    def _head(self) -> tuple[str, int]:
        """What comes next, and how many items or bytes it has; the bytes of plain values."""
        self._items += 1
        if self._items > MAX_ITEMS:
            raise ExcessiveSize(f"{self._blob.name}: more than {MAX_ITEMS:,} values")
        (code,) = self._take(1)
        if code in _SIZED:
            kind, width = _SIZED[code]
            return kind, int.from_bytes(self._take(width), "big")
        if 0xD4 <= code <= 0xD8:
            return "ext", 1 << (code - 0xD4)
        if 0x80 <= code < 0x90:
            return "map", code & 0x0F
        if 0x90 <= code < 0xA0:
            return "list", code & 0x0F
        if 0xA0 <= code < 0xC0:
            return "str", code & 0x1F
        if code in _FIXED or code < 0x80 or code >= 0xE0:
            return "plain", _FIXED.get(code, 0)
        self._wrong(f"it has a value of kind {code:#x}")

    def _skip(self, size: int) -> None:
        self._at += size
        if self._at > self._blob.size:
            self._wrong("it is cut off")

    def _take(self, size: int) -> bytes:
        start = self._at
        self._skip(size)
        if not self._origin <= start <= self._at <= self._origin + len(self._window):
            end = min(max(self._at, start + _WINDOW), self._blob.size)
            self._window, self._origin = self._blob.read(start, end).tobytes(), start
        return self._window[start - self._origin : self._at - self._origin]

    def _wrong(self, reason: str) -> NoReturn:
        raise CorruptFile(f"{self._blob.name}: not a whole msgpack file: {reason}")


@contextmanager
def open_file(path: Path) -> Iterator[FlaxFile]:
    """Open a file of ``flax.serialization.to_bytes``.

    Raises:
        UnreadableCheckpoint: where it is corrupt or of another kind.
    """
    with local_blob(path) as blob:
        yield FlaxFile(blob)

"""The protobuf wire format, walked by position: keys and lengths are read, and of the payloads those asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple, NoReturn

import numpy as np

from peace_pipeline.weights.errors import CorruptFile, ExcessiveSize
from peace_pipeline.weights.local_blob import Blob

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
"""Wire types (protobuf encoding specification, "message structure")."""

MAX_FIELDS = 2_000_000
"""Fields of one file that are looked at. The graphs of the largest networks have a few hundred thousand."""
MAX_TEXT = 64 << 10
MAX_TEXTS = 100_000_000
"""Bytes of one name, and of all names of a file."""

_WINDOW = 64 << 10
_LONGEST_VARINT = 10
_KEY_AND_LENGTH = 2 * _LONGEST_VARINT

Schema = Mapping[int, tuple[str, tuple[int, ...]]]
"""Field number → name, and the wire types that it may have."""


class Field(NamedTuple):
    """One field: its payload lies at [start, stop). ``number`` is a varint's value, or the payload's length."""

    name: str
    number: int
    start: int
    stop: int


class Walker:
    """Walks the messages of a blob: ``max_fields`` at most, and ``max_texts`` bytes of names together."""

    def __init__(self, blob: Blob, max_fields: int = MAX_FIELDS, max_texts: int = MAX_TEXTS) -> None:
        self.blob, self._max_fields = blob, max_fields
        self._fields_left, self._text_left = max_fields, max_texts
        self._window, self._origin = b"", 0

    def fields(self, start: int, stop: int, schema: Schema) -> Iterator[Field]:
        """The fields of the message at [start, stop) that the schema names; the others are passed over.

        Raises:
            CorruptFile: where the bytes are no message, or a field is of another wire type.
            ExcessiveSize: beyond ``max_fields``.
        """
        window, origin, end = b"", 0, 0
        while start < stop:
            self._fields_left -= 1
            if self._fields_left < 0:
                raise ExcessiveSize(f"{self.blob.name}: more than {self._max_fields:,} fields")
            if not origin <= start < end:
                window, origin, end = self._around(start)
            key, at = self._varint(window, start - origin)
            wire, value = key & 7, 0
            begin = origin + at
            if wire == VARINT:
                value, at = self._varint(window, at)
                start = origin + at
            elif wire == LENGTH:
                value, at = self._varint(window, at)
                begin = origin + at
                start = begin + value
            elif wire in (FIXED32, FIXED64):
                start = begin + (4 if wire == FIXED32 else 8)
            else:
                self.wrong(f"it has a field of wire type {wire}")
            if start > stop:
                self.wrong("a field goes beyond the end")
            name, wires = schema.get(key >> 3, (None, ()))
            if name is not None:
                if wire not in wires:
                    self.wrong(f"its {name} is of wire type {wire}")
                yield Field(name, value, begin, start)
            elif not key >> 3:
                self.wrong("it has a field without a number")

    def text(self, field: Field) -> str:
        """A string.

        Raises:
            CorruptFile: where it is no UTF-8.
            ExcessiveSize: where it is longer than ``MAX_TEXT``, or all together than ``max_texts``.
        """
        length = field.stop - field.start
        self._text_left -= length
        if length > MAX_TEXT or self._text_left < 0:
            raise ExcessiveSize(f"{self.blob.name}: a {field.name} of {length:,} bytes")
        try:
            return self.payload(field.start, field.stop).decode()
        except UnicodeDecodeError:
            self.wrong(f"its {field.name} is no text")

    def payload(self, start: int, stop: int) -> bytes:
        """The bytes at [start, stop)."""
        if start < self._origin or stop > self._origin + len(self._window):
            self._move(start, stop)
        return self._window[start - self._origin : stop - self._origin]

    def numbers(self, field: Field) -> list[int]:
        """The int64 numbers of a repeated field's varints, one or packed."""
        numbers, at, data = list[int](), 0, self.payload(field.start, field.stop)
        while at < len(data):
            number, at = self._varint(data, at)
            numbers.append(signed(number))
        return numbers

    def _around(self, start: int) -> tuple[bytes, int, int]:
        """A window, where it begins, and up to where a field's key and length that begin there are whole in it."""
        if not self._origin <= start <= self._origin + len(self._window) - _KEY_AND_LENGTH:
            self._move(start, start)
        end = self._origin + len(self._window)
        return self._window, self._origin, end if end == self.blob.size else end - _KEY_AND_LENGTH

    def _move(self, start: int, stop: int) -> None:
        """Let the window begin at ``start`` and go to ``stop`` at least."""
        end = min(max(stop, start + _WINDOW), self.blob.size)
        self._window, self._origin = self.blob.read(start, end).tobytes(), start

    def _varint(self, data: bytes, at: int) -> tuple[int, int]:
        """The number that begins there, and where it ends."""
        if at < len(data) and data[at] < 0x80:
            return data[at], at + 1
        value = 0
        for place, byte in enumerate(data[at : at + _LONGEST_VARINT]):
            value |= (byte & 0x7F) << 7 * place
            if byte < 0x80:
                return value & 0xFFFF_FFFF_FFFF_FFFF, at + place + 1
        self.wrong("a number has no end")

    def wrong(self, reason: str) -> NoReturn:
        """Refuse the file."""
        raise CorruptFile(f"{self.blob.name}: not a whole file of its format: {reason}")


def signed(number: int) -> int:
    """An int64 from its varint."""
    return number - (1 << 64) if number >> 63 else number


def varints(data: np.ndarray) -> Iterator[np.ndarray]:
    """The numbers (uint64) of packed varints (uint8), some at a time.

    Raises:
        ValueError: where the bytes are no sequence of whole varints.
    """
    start = 0
    while start < len(data):
        block = data[start : start + _WINDOW]
        ends = np.flatnonzero(block < 0x80)
        lengths = np.diff(ends, prepend=-1)
        if not len(ends) or lengths.max() > _LONGEST_VARINT:
            raise ValueError("a number has no end")
        numbers = np.zeros(len(ends), np.uint64)
        for place in range(lengths.max()):
            longer = lengths > place
            bits = block[(ends - lengths + 1 + place)[longer]].astype(np.uint64) & 0x7F
            numbers[longer] |= bits << np.uint64(7 * place)
        yield numbers
        start += ends[-1] + 1

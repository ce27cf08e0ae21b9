"""Walking protobuf messages by position, within bounds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peace_pipeline.weights.errors import CorruptFile, ExcessiveSize
from peace_pipeline.weights.formats.protobuf import LENGTH, VARINT, Walker, signed, varints
from peace_pipeline.weights.local_blob import local_blob

SCHEMA = {1: ("version", (VARINT,)), 2: ("name", (LENGTH,))}


def varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def name(text: bytes) -> bytes:
    return varint(2 << 3 | LENGTH) + varint(len(text)) + text


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "message"


def texts(path: Path, content: bytes, **limits: int) -> Iterator[str]:
    path.write_bytes(content)
    with local_blob(path) as blob:
        walker = Walker(blob, **limits)
        for field in walker.fields(0, blob.size, SCHEMA):
            yield walker.text(field) if field.name == "name" else str(field.number)


def test_fields_in_their_order(path: Path) -> None:
    unknown = varint(9 << 3 | LENGTH) + varint(3) + b"abc"
    content = varint(1 << 3) + varint(300) + name(b"first") + unknown + name("zweité".encode())
    assert list(texts(path, content)) == ["300", "first", "zweité"]


def test_too_many_fields(path: Path) -> None:
    content = b"\x08\x01" * 1001
    assert len(list(texts(path, content, max_fields=1001))) == 1001
    with pytest.raises(ExcessiveSize, match="message: more than 1,000 fields"):
        list(texts(path, content, max_fields=1000))


def test_too_much_text(path: Path) -> None:
    content = name(b"x" * 99) * 10
    assert len(list(texts(path, content, max_texts=990))) == 10
    with pytest.raises(ExcessiveSize, match="a name of 99 bytes"):
        list(texts(path, content, max_texts=989))


@pytest.mark.parametrize(
    "content",
    [
        b"\x08" + b"\xff" * 11,
        name(b"abc")[:-1],
        b"\x0b",
        varint(1 << 3 | LENGTH) + b"\x00",
        name(b"\xff"),
    ],
    ids=["endless number", "ends early", "wire type 3", "another wire type", "no text"],
)
def test_what_is_no_message(content: bytes, path: Path) -> None:
    with pytest.raises(CorruptFile, match="not a whole file of its format"):
        list(texts(path, content))


@given(st.lists(st.integers(0, (1 << 64) - 1), max_size=30))
def test_packed_numbers(numbers: list[int]) -> None:
    data = np.frombuffer(b"".join(map(varint, numbers)), np.uint8)
    assert [int(n) for block in varints(data) for n in block] == numbers


def test_negative_numbers() -> None:
    assert [signed(n) for n in (0, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)] == [
        0,
        (1 << 63) - 1,
        -(1 << 63),
        -1,
    ]

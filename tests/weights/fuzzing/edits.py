"""How bytes and JSON of any file are damaged."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

Edit = Callable[[Random, bytes], bytes]

NUMBERS = (
    0,
    1,
    2,
    7,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0xFFFF,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**40,
    2**60,
    2**63,
    2**64 - 1,
)
_MOST_EDITS = 5


def mutated(random: Random, samples: Sequence[bytes], structure: Edit | None) -> bytes:
    """A sample with a few of its parts or bytes changed; the same for the same state of ``random``."""
    content = random.choice(samples)
    if structure and random.random() < 0.6:
        for _ in range(random.choice((1, 1, 2, 3))):
            content = structure(random, content)
        if random.random() < 0.7:
            return content
    for _ in range(random.choice((1, 1, 1, 2, _MOST_EDITS))):
        content = random.choice((*_BYTES, lambda r, c: _splice(r, c, r.choice(samples))))(random, content)
    return content


# Bytes


def edit_bytes(random: Random, content: bytes) -> bytes:
    """One change of a few bytes, wherever."""
    return random.choice(_BYTES)(random, content)


def _place(random: Random, content: bytes) -> int:
    """A place in the file; the first kilobyte is where formats begin, so half of them are there."""
    return random.randrange(min(len(content), random.choice((1024, 1 << 60))) or 1)


def _span(random: Random, content: bytes) -> tuple[int, int]:
    start = _place(random, content)
    return start, min(start + random.choice((1, 2, 4, 8, random.randrange(1, 300))), len(content))


def flip(random: Random, content: bytes) -> bytes:
    damaged = bytearray(content)
    for _ in range(random.choice((1, 1, 4)) if content else 0):
        damaged[_place(random, content)] ^= 1 << random.randrange(8)
    return bytes(damaged)


def _overwrite(random: Random, content: bytes) -> bytes:
    start, stop = _span(random, content)
    filler = random.choice((bytes(stop - start), b"\xff" * (stop - start), random.randbytes(stop - start)))
    return content[:start] + filler + content[stop:]


def _insert(random: Random, content: bytes) -> bytes:
    start, stop = _span(random, content)
    return (
        content[:start]
        + random.choice((random.randbytes(stop - start), content[start:stop]))
        + content[start:]
    )


def _delete(random: Random, content: bytes) -> bytes:
    start, stop = _span(random, content)
    return content[:start] + content[stop:]


def _truncate(random: Random, content: bytes) -> bytes:
    return content[: random.randrange(len(content) + 1)]


def _set_number(random: Random, content: bytes) -> bytes:
    return set_number_at(random, content, _place(random, content))


def set_number_at(random: Random, content: bytes, place: int) -> bytes:
    """An integer that is zero, one too many, or as large as they go, in the bytes at a place."""
    width, order = random.choice((1, 2, 4, 8)), random.choice(("little", "little", "big"))
    near = int.from_bytes(content[place : place + width], "little") + random.choice((-1, 1))
    number = random.choice((*NUMBERS, near, len(content))) % 256**width
    return content[:place] + number.to_bytes(width, order) + content[place + width :]


def _splice(random: Random, content: bytes, other: bytes) -> bytes:
    start, stop = _span(random, other)
    at = _place(random, content)
    return content[:at] + other[start:stop] + content[at + random.choice((0, stop - start)) :]


_BYTES: tuple[Edit, ...] = (flip, _overwrite, _insert, _delete, _truncate, _set_number, _set_number)


# JSON, and safetensors' header


def _deep(depth: int) -> Any:
    value: Any = 0
    for _ in range(depth):
        value = [value]
    return value


_VALUES: tuple[Any, ...] = (
    *NUMBERS, -1, 1.5, 1e308, float("nan"), True, None, "", "F32", "BF16", "I8", "../../etc/passwd", "x" * 2000,
    "\ud800", [], {}, [0], [2**40, 2**40], [1] * 100, [0, 2**63], _deep(500),
)  # fmt: skip


def edit_json(random: Random, text: bytes) -> bytes:
    """A document with a value replaced, removed or doubled; text of another kind as it is."""
    try:
        document = json.loads(text)
    except ValueError:
        return edit_bytes(random, text)
    places = list(_places(document))
    if not places:
        return json.dumps(random.choice(_VALUES)).encode()
    container, key = random.choice(places)
    match random.randrange(5):
        case 0:
            del container[key]
        case 1 if isinstance(container, dict):
            container[random.choice((f"{key}x", "", "a" * 5000, "__metadata__"))] = container[key]
        case 2 if isinstance(container, dict) and len(container) > 1:
            other = random.choice(list(container))
            return json.dumps(document).encode().replace(json.dumps(other).encode(), json.dumps(key).encode())
        case 3:
            container[key] = json.loads(json.dumps(random.choice(places)[0]))
        case _:
            container[key] = random.choice(_VALUES)
    return json.dumps(document).encode()


def _places(document: Any) -> Iterator[tuple[Any, Any]]:
    """Every container and key (or index) in a document."""
    if isinstance(document, dict | list):
        for key, value in list(document.items() if isinstance(document, dict) else enumerate(document)):
            yield document, key
            yield from _places(value)

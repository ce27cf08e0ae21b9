"""How a sample is damaged: the parts of those formats that have a structure."""

from __future__ import annotations

import pickletools
import struct
import zipfile
from functools import lru_cache
from io import BytesIO
from random import Random
from typing import NamedTuple

from tests.weights.fuzzing.edits import NUMBERS, Edit, edit_bytes, edit_json, flip, set_number_at


def edit_safetensors(random: Random, content: bytes) -> bytes:
    """Another header, whose length is mostly right."""
    length = int.from_bytes(content[:8], "little")
    header = edit_json(random, content[8 : 8 + length])
    told = len(header) if random.random() < 0.9 else random.choice(NUMBERS)
    return told.to_bytes(8, "little") + header + content[8 + length :]


# Pickles

_SNIPPETS = (
    b"cos\nsystem\n", b"cos\nsystem\n(S'touch marker'\ntR", b"cbuiltins\neval\n(S'1+1'\ntR", b"csubprocess\nPopen\n",
    b"(S'true'\nios\nsystem\n", b"\x8c\x02os\x8c\x06system\x93", b"ctorch._utils\n_rebuild_tensor_v2\n", b"R", b"b",
    b"o", b"\x81", b"\x92", b"Q", b"(", b".", b"0", b"1", b"2", b"t", b"l", b"d", b"\x85" * 2000, b"(" * 1000,
    b"]a" * 500, b"}", b"]", b")", b"N", b"\x88", b"u", b"s", b"e", b"a", b"\x90", b"\x91", b"\x93", b"\x94",
    b"\x97", b"\x98",
    b"\x82\x01", b"\x80\x09", b"\x95\xff\xff\xff\xff\xff\xff\xff\xff", b"\x8a\xff" + b"\xff" * 255,
    b"\x8b\xff\xff\xff\x7f", b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff", b"\x8e\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"X\xff\xff\xff\xff", b"j\xff\xff\xff\xff", b"r\xff\xff\xff\xff", b"h\xff", b"J\xff\xff\xff\xff", b"K\x00",
    b"I" + b"9" * 5000 + b"\n", b"L" + b"9" * 5000 + b"L\n", b"F1e999\n", b"Fnan\n", b"I01\n", b"p-1\n", b"g99999\n",
    b"S'\\xff'\n", b"S\"'\n", b"V\\ud800\n", b"Pid\n", b"cnumpy.core.multiarray\n_reconstruct\n", b"\x8c\x00",
)  # fmt: skip


def edit_pickle(random: Random, content: bytes) -> bytes:
    """A pickle, or several in a row, with an opcode inserted, removed, doubled, or of another argument."""
    places = _opcodes(content)
    if len(places) < 3:
        return edit_bytes(random, content)
    at = random.randrange(len(places) - 1)
    start, stop = places[at], places[at + 1]
    opcode, other = content[start:stop], random.randrange(len(places) - 1)
    replaced = random.choice((
        b"", opcode * 2, opcode + random.choice(_SNIPPETS), random.choice(_SNIPPETS),
        content[places[other] : places[other + 1]], opcode[:1] + edit_bytes(random, opcode[1:]),
        set_number_at(random, opcode, 1) if len(opcode) > 1 else opcode * 1000,
    ))  # fmt: skip
    return content[:start] + replaced + content[stop:]


@lru_cache(maxsize=256)
def _opcodes(content: bytes) -> list[int]:
    """Where opcodes begin, in one pickle after another."""
    places, start = [], 0
    try:
        while start < len(content):
            stream = BytesIO(content[start:])
            places += [start + place for _, _, place in pickletools.genops(stream) if place is not None]
            start += stream.tell()
    except (ValueError, IndexError):  # what follows is no pickle
        pass
    return places


# Zip archives


def edit_pytorch(random: Random, content: bytes) -> bytes:
    """An archive of PyTorch with something in it changed."""
    return _edit_zip(random, content, {".pkl": edit_pickle, ".py": edit_bytes})


def edit_keras(random: Random, content: bytes) -> bytes:
    """An archive of Keras with something in it changed."""
    return _edit_zip(random, content, {".json": edit_json, ".h5": edit_hdf5})


def _edit_zip(random: Random, content: bytes, edits: dict[str, Edit]) -> bytes:
    try:
        with zipfile.ZipFile(BytesIO(content)) as archive:
            members = [(name, archive.read(name)) for name in archive.namelist()]
    except Exception:  # an archive that is damaged already, in whatever way
        return edit_bytes(random, content)
    if not members:
        return edit_bytes(random, content)
    structured = [number for number, (name, _) in enumerate(members) if name.endswith(tuple(edits))]
    at = random.choice(structured or [0]) if random.random() < 0.8 else random.randrange(len(members))
    name, value = members[at]
    edit = next((edit for suffix, edit in edits.items() if name.endswith(suffix)), edit_bytes)
    match random.randrange(10):
        case 0:
            del members[at]
        case 1:
            members.insert(random.randrange(len(members)), (random.choice(members)[0], value))
        case 2:
            renamed = random.choice(
                ("../" * 3 + name, "/" + name, "", "a" * 60000, name.upper(), f"x/{name}", "\0")
            )
            members[at] = renamed, value
        case _:
            members[at] = name, edit(random, value)
    return _zipped(random, members)


def _zipped(random: Random, members: list[tuple[str, bytes]]) -> bytes:
    target = BytesIO()
    method = zipfile.ZIP_STORED if random.random() < 0.8 else zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(target, "w", method) as archive:
        for name, value in members:
            info = zipfile.ZipInfo(name)
            info.compress_type = method
            archive.NameToInfo.clear()  # a name that is there twice is what is wanted
            archive.writestr(info, value)
        if members and random.random() < 0.1:
            wrong = random.choice(
                ("file_size", "compress_size", "header_offset", "compress_type", "flag_bits")
            )
            limit = 1 << 16 if wrong in ("compress_type", "flag_bits") else 1 << 64
            setattr(random.choice(archive.filelist), wrong, random.choice(NUMBERS) % limit)
    return target.getvalue()


# Protobuf


class _Field(NamedTuple):
    start: int
    payload: int
    stop: int
    wire: int
    outer: tuple[_Field, ...]


def edit_protobuf(random: Random, content: bytes) -> bytes:
    """A message with a field changed, removed, doubled or put elsewhere; lengths around it are mostly made right."""
    fields = _fields(content)
    if not fields:
        return edit_bytes(random, content)
    field, other = random.choice(fields), random.choice(fields)
    whole, key = content[field.start : field.stop], content[field.start : field.start + 1]
    payload = content[field.payload : field.stop]
    match random.randrange(7):
        case 0:
            new = b""
        case 1:
            new = whole * random.choice((2, 2, 2, 1000))
        case 2:
            new = content[other.start : other.stop]
        case 3:
            new = bytes([random.randrange(256)]) + whole[1:]
        case 4 if field.wire == 2:
            new = key + _varint(random.choice((*NUMBERS, len(payload) + 1))) + payload
        case _ if field.wire == 0:
            new = key + _varint(random.choice(NUMBERS))
        case _ if field.wire == 2:
            payload = edit_bytes(random, payload)
            new = key + _varint(len(payload)) + payload
        case _:
            new = edit_bytes(random, whole)
    return _put(random, content, field, new)


def _put(random: Random, content: bytes, field: _Field, new: bytes) -> bytes:
    start, stop = field.start, field.stop
    for outer in reversed(field.outer):
        payload = content[outer.payload : start] + new + content[stop : outer.stop]
        length = len(payload) if random.random() < 0.97 else outer.stop - outer.payload
        new = content[outer.start : outer.start + 1] + _varint(length) + payload
        start, stop = outer.start, outer.stop
    return content[:start] + new + content[stop:]


@lru_cache(maxsize=64)
def _fields(content: bytes) -> list[_Field]:
    found: list[_Field] = []
    _add_fields(content, 0, len(content), (), found)
    return found


def _add_fields(
    content: bytes, start: int, stop: int, outer: tuple[_Field, ...], found: list[_Field]
) -> bool:
    """Whether the bytes are a message; adds its fields, also those of messages that are in it."""
    own: list[_Field] = []
    while start < stop:
        wire, payload = content[start] & 7, start + 1
        if content[start] >= 0x80 or content[start] < 8 or wire not in (0, 1, 2, 5):
            return False
        if wire in (0, 2):
            number, payload_start = _number(content, payload, stop)
            if payload_start > stop:
                return False
            payload, end = (payload_start, payload_start + number) if wire == 2 else (payload, payload_start)
        else:
            end = payload + (4 if wire == 5 else 8)
        if end > stop:
            return False
        field = _Field(start, payload, end, wire, outer)
        own.append(field)
        if wire == 2:
            _add_fields(content, payload, end, (*outer, field), own)
        start = end
    found += own
    return True


def _number(content: bytes, start: int, stop: int) -> tuple[int, int]:
    number = 0
    for place in range(start, min(start + 10, stop)):
        number |= (content[place] & 0x7F) << 7 * (place - start)
        if content[place] < 0x80:
            return number, place + 1
    return 0, stop + 1


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number >= 0x80:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*encoded, number])


# HDF5 and GGUF

_SIGNATURES = (
    b"\x89HDF",
    b"TREE",
    b"HEAP",
    b"SNOD",
    b"OHDR",
    b"OCHK",
    b"FRHP",
    b"FHDB",
    b"BTHD",
    b"BTLF",
    b"GCOL",
)


def edit_hdf5(random: Random, content: bytes) -> bytes:
    """A number or a few bits changed in the library's own structures, or in an object's header."""
    places = _structures(content)
    if not places:
        return edit_bytes(random, content)
    place = min(random.choice(places) + random.randrange(128), len(content) - 1)
    if random.random() < 0.6:
        return set_number_at(random, content, place)
    return content[:place] + flip(random, content[place : place + 8]) + content[place + 8 :]


@lru_cache(maxsize=64)
def _structures(content: bytes) -> list[int]:
    """Where structures begin; an object's header of the first version has no signature, but a version, 1 and a 0."""
    places = []
    for mark in (*_SIGNATURES, b"\x01\x00\x01\x00", b"\x01\x00\x02\x00", b"\x01\x00\x06\x00"):
        place = content.find(mark)
        while place >= 0:
            places.append(place)
            place = content.find(mark, place + 1)
    return places


def edit_gguf(random: Random, content: bytes) -> bytes:
    """A number changed beside a name: its own length, or the dimensions, type and offset that follow it."""
    places = _texts(content)
    if not places:
        return edit_bytes(random, content)
    length, stop = random.choice(places)
    place = random.choice((length, 8, 16, stop + 4 * random.randrange(9)))
    return set_number_at(random, content, min(place, len(content)))


@lru_cache(maxsize=64)
def _texts(content: bytes) -> list[tuple[int, int]]:
    """Where the length of a text stands, and where the text ends."""
    places = []
    for start in range(24, min(len(content), 1 << 16) - 8):
        (length,) = struct.unpack_from("<Q", content, start)
        text = content[start + 8 : start + 8 + min(length, 300)]
        if 0 < length < 300 and len(text) == length and text.isascii() and text.decode().isprintable():
            places.append((start, start + 8 + length))
    return places


STRUCTURES: dict[str, Edit] = {
    "safetensors": edit_safetensors,
    "pytorch": edit_pytorch,
    "pytorch legacy": edit_pickle,
    "torchscript": edit_pytorch,
    "onnx": edit_protobuf,
    "hdf5": edit_hdf5,
    "keras": edit_keras,
    "gguf": edit_gguf,
}
"""Format → an edit of its own structure."""

"""Files that lie, and the error that each has to be."""

from __future__ import annotations

import io
import json
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import torch
from onnx import ModelProto, StringStringEntryProto, TensorProto
from safetensors.torch import save_file

from peace_pipeline.weights.errors import (
    CorruptFile,
    DuplicateTensor,
    ExcessiveSize,
    ForbiddenPath,
    NotFinite,
    UnreadableCheckpoint,
    UnsupportedFormat,
)
from peace_pipeline.zoo import files
from tests.weights import corpus, keras_corpus
from tests.weights.corpus import FORMATS

STATE = {"a.weight": torch.arange(6.0).view(3, 2), "b.weight": torch.ones(2, 3)}
Make = Callable[[Path], object]
"""Writes the files of a model into a folder."""

CASES: dict[str, tuple[Make, type[Exception], str]] = {}


def case(kind: type[Exception], reason: str, name: str = "") -> Callable[[Make], Make]:
    """Registers a case that must be refused with an error of this kind, whose text has ``reason`` in it."""

    def register(make: Make) -> Make:
        CASES[name or make.__name__] = (make, kind, reason)
        return make

    return register


# safetensors: headers that lie


def with_header(header: object, data: bytes = b"", length: int | None = None) -> Make:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    content = struct.pack("<Q", len(text) if length is None else length) + text + data
    return lambda folder: (folder / "model.safetensors").write_bytes(content)


def entry(start: int, stop: int, *shape: Any, dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


ONE = {"w": entry(0, 16, 4)}
OVERLAPPING = {"a": entry(0, 16, 4), "b": entry(8, 24, 4)}
TWICE = b'{"w": %s, "w": %s}' % (2 * (json.dumps(entry(0, 16, 4)).encode(),))
WRONG = "not a whole safetensors file"
for name, make, kind, reason in [
    ("a header longer than the file", with_header(ONE, bytes(16), 1000), CorruptFile, "goes beyond its end"),
    ("a header of 2^63 bytes", with_header(ONE, bytes(16), 2**63), CorruptFile, "goes beyond its end"),
    ("no header", with_header(b"", length=0), CorruptFile, "no JSON"),
    ("half a length", lambda folder: (folder / "m.safetensors").write_bytes(b"\1\0"), CorruptFile, WRONG),
    ("a header of UTF-16", with_header(json.dumps(ONE).encode("utf-16"), bytes(16)), CorruptFile, "no JSON"),
    ("a deep header", with_header(b"[" * 100_000), CorruptFile, "no JSON"),
    ("offsets that overlap", with_header(OVERLAPPING, bytes(24)), CorruptFile, "'b' begins at 8, not at 16"),
    ("offsets out of range", with_header(ONE, bytes(8)), CorruptFile, "its tensors end at"),
    ("a gap", with_header({"w": entry(4, 20, 4)}, bytes(20)), CorruptFile, "begins at 4, not at 0"),
    ("offsets in reverse", with_header({"w": entry(16, 0, 4)}, bytes(16)), CorruptFile, "does not take"),
    ("a wrong shape", with_header({"w": entry(0, 16, 5)}, bytes(16)), CorruptFile, r"of shape \[5\] does not"),
    ("a negative shape", with_header({"w": entry(0, 16, -2, -2)}, bytes(16)), CorruptFile, "makes no sense"),
    ("a shape of 2^80", with_header({"w": entry(0, 16, 2**40, 2**40)}, bytes(16)), CorruptFile, "of shape"),
    ("a shape of texts", with_header({"w": entry(0, 16, "4")}, bytes(16)), CorruptFile, "makes no sense"),
    ("a type that is a list", with_header({"w": entry(0, 4, dtype=[])}, bytes(4)), CorruptFile, "makes no"),
    ("an unknown type", with_header({"w": entry(0, 4, dtype="F3")}, bytes(4)), UnsupportedFormat, "F3"),
    ("one name twice", with_header(TWICE, bytes(16)), DuplicateTensor, "'w' is twice"),
    ("empty and huge", with_header({"w": entry(0, 0, 0, 2**62, 4)}), ExcessiveSize, "has shape"),
    ("many dimensions", with_header({"w": entry(0, 4, *[1] * 99)}, bytes(4)), ExcessiveSize, "99 dimensions"),
]:  # fmt: skip
    case(kind, reason, f"safetensors: {name}")(make)


# Values, in every format


def with_values(form: corpus.Format, value: float) -> Make:
    state = {"a": torch.ones(2), "w": torch.tensor([1.0, value])}
    return lambda folder: form.state(state, folder / f"model{form.suffix}")


for name, form in FORMATS.items():
    case(NotFinite, "'w' holds values that are not finite", f"{name}: NaN")(with_values(form, float("nan")))
    case(NotFinite, "'w' holds values that are not finite", f"{name}: infinity")(
        with_values(form, -float("inf"))
    )


# Archives


def repacked(folder: Path, change: Callable[[zipfile.ZipFile, list[tuple[str, bytes]]], None]) -> None:
    """A checkpoint whose archive is written by ``change``, from the names and contents of its files."""
    saved = io.BytesIO()
    torch.save(STATE, saved)
    with zipfile.ZipFile(saved) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    with zipfile.ZipFile(folder / "model.pt", "w") as archive:
        change(archive, members)


@case(ExcessiveSize, "data.pkl' has ")
def a_pickle_that_inflates_a_thousandfold(folder: Path) -> None:
    def change(archive: zipfile.ZipFile, members: list[tuple[str, bytes]]) -> None:
        archive.writestr("m/data.pkl", bytes(100 << 20), zipfile.ZIP_DEFLATED)

    repacked(folder, change)


@case(CorruptFile, "does not inflate to 100 bytes")
def a_pickle_that_inflates_to_more_than_it_says(folder: Path) -> None:
    def change(archive: zipfile.ZipFile, members: list[tuple[str, bytes]]) -> None:
        archive.writestr("m/data.pkl", bytes(100 << 20), zipfile.ZIP_DEFLATED)
        archive.filelist[0].file_size = 100

    repacked(folder, change)


@case(ExcessiveSize, "has 1,152,921,504,606,846,976 bytes")
def a_pickle_of_2_to_the_60_bytes(folder: Path) -> None:
    def change(archive: zipfile.ZipFile, members: list[tuple[str, bytes]]) -> None:
        archive.writestr("m/data.pkl", bytes(1000), zipfile.ZIP_DEFLATED)
        archive.filelist[0].file_size = 1 << 60

    repacked(folder, change)


@case(CorruptFile, "overlaps what follows it")
def a_storage_of_2_to_the_60_bytes(folder: Path) -> None:
    def change(archive: zipfile.ZipFile, members: list[tuple[str, bytes]]) -> None:
        for name, content in members:
            archive.writestr(name, content)
        archive.filelist[-1].file_size = archive.filelist[-1].compress_size = 1 << 60

    repacked(folder, change)


@case(UnsupportedFormat, "is compressed")
def storages_that_inflate_a_thousandfold(folder: Path) -> None:
    def change(archive: zipfile.ZipFile, members: list[tuple[str, bytes]]) -> None:
        for name, content in members:
            is_storage = "/data/" in name
            method = zipfile.ZIP_DEFLATED if is_storage else zipfile.ZIP_STORED
            archive.writestr(name, bytes(64 << 20) if is_storage else content, method)

    repacked(folder, change)


@case(CorruptFile, "no pickle")
def an_archive_in_an_archive(folder: Path) -> None:
    def change(archive: zipfile.ZipFile, members: list[tuple[str, bytes]]) -> None:
        inner = io.BytesIO()
        with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as nested:
            nested.writestr("m/data.pkl", bytes(32 << 20))
        archive.writestr("m/data.pkl", inner.getvalue(), zipfile.ZIP_DEFLATED)

    repacked(folder, change)


@case(CorruptFile, "two files of the archive begin at one place")
def files_of_an_archive_that_overlap(folder: Path) -> None:
    def change(archive: zipfile.ZipFile, members: list[tuple[str, bytes]]) -> None:
        for name, content in members:
            archive.writestr(name, content)
        archive.filelist[-1].header_offset = archive.filelist[-2].header_offset

    repacked(folder, change)


@case(CorruptFile, "names a file twice")
def a_file_twice_in_an_archive(folder: Path) -> None:
    def change(archive: zipfile.ZipFile, members: list[tuple[str, bytes]]) -> None:
        for name, content in [*members, members[0]]:
            archive.NameToInfo.clear()
            archive.writestr(name, content)

    repacked(folder, change)


def leading_out(path: str) -> Make:
    def change(archive: zipfile.ZipFile, members: list[tuple[str, bytes]]) -> None:
        for name, content in [*members, (path, b"x")]:
            archive.writestr(name, content)

    return lambda folder: repacked(folder, change)


for path in ("../../x", "/tmp/x", "m/../../x"):
    case(ForbiddenPath, "leads out of the archive", f"an archive with {path}")(leading_out(path))


@case(ExcessiveSize, "config.json' has ")
def a_configuration_that_inflates_a_thousandfold(folder: Path) -> None:
    with zipfile.ZipFile(folder / "model.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", bytes(100 << 20))
        archive.writestr("model.weights.h5", b"")


@case(UnsupportedFormat, "without config.json")
def an_empty_archive(folder: Path) -> None:
    zipfile.ZipFile(folder / "model.keras", "w").close()


@case(CorruptFile, "its configuration is no JSON")
def a_configuration_of_utf_16(folder: Path) -> None:
    with zipfile.ZipFile(folder / "model.keras", "w") as archive:
        archive.writestr("config.json", json.dumps({"class_name": "Sequential"}).encode("utf-16"))
        archive.writestr("model.weights.h5", keras_corpus.hdf5(STATE, folder / "weights.h5").read_bytes())
    (folder / "weights.h5").unlink()


@case(CorruptFile, "goes beyond its storage")
def a_tensor_larger_than_its_storage(folder: Path) -> None:
    torch.save({"w": torch.ones(4)}, folder / "model.pt")
    content = (folder / "model.pt").read_bytes()
    assert content.count(b"K\x04\x85") == 1  # the shape, (4,)
    (folder / "model.pt").write_bytes(content.replace(b"K\x04\x85", b"K\x09\x85"))


@case(CorruptFile, "a storage of ")
def a_storage_of_2_to_the_60_values(folder: Path) -> None:
    torch.save({"w": torch.ones(4)}, folder / "model.pt", _use_new_zipfile_serialization=False)
    content = (folder / "model.pt").read_bytes()
    (folder / "model.pt").write_bytes(content[:-24] + struct.pack("<Q", 1 << 60) + content[-16:])


@case(DuplicateTensor, "'w' is there twice")
def a_key_twice_in_a_dictionary(folder: Path) -> None:
    torch.save({"w": torch.ones(4), "v": torch.ones(4)}, folder / "model.pt")
    content = (folder / "model.pt").read_bytes()
    mark = b"X\x01\x00\x00\x00"
    assert content.count(mark + b"v") == 1
    (folder / "model.pt").write_bytes(content.replace(mark + b"v", mark + b"w"))


# ONNX


def external(location: str, **place: int) -> Make:
    """A model of which one tensor lies at ``location``."""

    def make(folder: Path) -> None:
        path = folder / "model.onnx"
        model = ModelProto.FromString(corpus.onnx(STATE, path).read_bytes())
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        entries = {"location": location} | {key: str(value) for key, value in place.items()}
        tensor.external_data.extend(StringStringEntryProto(key=key, value=entries[key]) for key in entries)
        path.write_bytes(model.SerializeToString())
        (folder / "weights.data").write_bytes(bytes(24))
        (folder / "link.data").symlink_to("/etc/passwd")
        (folder / "loop.data").symlink_to("loop.data")
        os.mkfifo(folder / "pipe.data")

    return make


for location, kind, reason in [
    ("../other/weights.data", ForbiddenPath, "outside its folder"),
    ("/etc/passwd", ForbiddenPath, "outside its folder"),
    ("x/../../x", ForbiddenPath, "outside its folder"),
    ("C:\\x", ForbiddenPath, "outside its folder"),
    ("..\\x", ForbiddenPath, "outside its folder"),
    ("link.data", ForbiddenPath, "outside its folder"),
    ("loop.data", ForbiddenPath, "names no file|symbolic links"),
    ("pipe.data", ForbiddenPath, "not a regular file"),
    (".", ForbiddenPath, "outside its folder"),
    ("\0", ForbiddenPath, "names no file"),
    ("missing.data", UnreadableCheckpoint, "No such file"),
]:
    case(kind, reason, f"onnx: values in {location!r}")(external(location))
case(CorruptFile, "goes beyond the end", "onnx: an offset out of range")(external("weights.data", offset=8))
case(CorruptFile, "goes beyond the end", "onnx: an offset below zero")(external("weights.data", offset=-8))
case(CorruptFile, "has 1,152", "onnx: 2^60 bytes elsewhere")(external("weights.data", length=1 << 60))


def onnx_with(change: Callable[[Any], Any]) -> Make:
    def make(folder: Path) -> None:
        path = folder / "model.onnx"
        model = ModelProto.FromString(corpus.onnx(STATE, path).read_bytes())
        change(model.graph.initializer)
        path.write_bytes(model.SerializeToString())

    return make


for name, change, kind, reason in [
    ("one name twice", lambda t: setattr(t[1], "name", "a.weight"), DuplicateTensor, "'a.weight' is there"),
    ("a wrong shape", lambda t: t[0].dims.append(3), CorruptFile, "of shape"),
    ("a negative shape", lambda t: t[0].dims.extend([-1, -1]), CorruptFile, "of shape"),
    ("a shape of 2^62", lambda t: t[0].dims.append(1 << 62), CorruptFile, "of shape"),
    ("many dimensions", lambda t: t[0].dims.extend([1] * 99), ExcessiveSize, "dimensions"),
]:
    case(kind, reason, f"onnx: {name}")(onnx_with(change))


# GGUF


def gguf_with(count: int, *tensors: bytes, data: bytes = bytes(64)) -> Make:
    header = b"GGUF" + struct.pack("<IQQ", 3, count, 0) + b"".join(tensors)
    content = header + bytes(-len(header) % 32) + data
    return lambda folder: (folder / "model.gguf").write_bytes(content)


def gguf_tensor(offset: int, *shape: int, name: bytes = b"w", length: int | None = None) -> bytes:
    size = struct.pack("<Q", len(name) if length is None else length)
    return size + name + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, 0, offset)


for name, make, kind in [
    ("2^60 tensors", gguf_with(1 << 60, gguf_tensor(0, 4)), UnreadableCheckpoint),
    ("a name of 2^63 bytes", gguf_with(1, gguf_tensor(0, 4, length=1 << 63)), UnreadableCheckpoint),
    ("a shape of 2^80", gguf_with(1, gguf_tensor(0, 1 << 40, 1 << 40)), UnreadableCheckpoint),
    ("an offset out of range", gguf_with(1, gguf_tensor(1 << 40, 4)), CorruptFile),
    ("offsets that overlap", gguf_with(2, gguf_tensor(0, 16), gguf_tensor(32, 4, name=b"v")), CorruptFile),
    ("one name twice", gguf_with(2, gguf_tensor(0, 4), gguf_tensor(32, 4)), DuplicateTensor),
]:
    case(kind, "model.gguf", f"gguf: {name}")(make)


# HDF5


def hdf5_with(fill: Callable[[h5py.File], Any]) -> Make:
    def make(folder: Path) -> None:
        with h5py.File(folder / "model.h5", "w") as file:
            fill(file)

    return make


def linked(file: h5py.File) -> None:
    file["w"] = h5py.ExternalLink("../other.h5", "/w")


def stored_elsewhere(file: h5py.File) -> None:
    file.create_dataset("w", (3,), "f4", external=[("/etc/passwd", 0, 12)])


def unwritten(file: h5py.File) -> None:
    file.create_dataset("w", (1 << 30, 1 << 30), "f4", chunks=(64, 64), compression="gzip")


case(ForbiddenPath, "link to another file", "hdf5: a link out")(hdf5_with(linked))
case(ForbiddenPath, "in another file", "hdf5: values elsewhere")(hdf5_with(stored_elsewhere))
case(ExcessiveSize, "'w'", "hdf5: 2^60 values")(hdf5_with(unwritten))


# Shards


def sharded(second: str) -> Make:
    """A model in two files, of which the index calls the second so."""

    def make(folder: Path) -> None:
        save_file({"a.weight": STATE["a.weight"]}, folder / "first.safetensors")
        save_file({"b.weight": STATE["b.weight"]}, folder / "second.safetensors")
        index = {"weight_map": {"a.weight": "first.safetensors", "b.weight": second}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))
        (folder / "link.safetensors").symlink_to("link.safetensors")

    return make


for second in ("../second.safetensors", "/etc/second.safetensors", "x/second.safetensors", ".."):
    case(files.ForbiddenShard, "is not in its folder", f"shards: {second}")(sharded(second))


@case(DuplicateTensor, "'a.weight' is there twice")
def shards_of_one_name(folder: Path) -> None:
    for number in (1, 2):
        save_file({"a.weight": STATE["a.weight"]}, folder / f"model-0000{number}-of-00002.safetensors")

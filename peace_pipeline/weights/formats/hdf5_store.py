"""The arrays of an HDF5 file by path, after checks that keep the library from following, loading or unpacking what it
must not. Runs in the helper process alone (``hdf5_helper``)."""

from __future__ import annotations

import io
import math
import mmap
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from h5py import h5a, h5d, h5f, h5fd, h5g, h5l, h5o, h5p, h5pl, h5s, h5t, h5z

from peace_pipeline.weights.errors import (
    CorruptFile,
    ExcessiveSize,
    FileChanged,
    ForbiddenPath,
    UnreadableCheckpoint,
    UnsupportedFormat,
)
from peace_pipeline.weights.formats.hdf5_process import BFLOAT16, Box, Dataset

MAX_OBJECTS = 50_000
MAX_DEPTH = 64
MAX_CHUNK = 128 << 20
"""Bytes of one chunk, which the library unpacks as a whole."""
MAX_BYTES = 1 << 60
MAX_RATIO = 1032
"""Values' bytes for each stored byte: the most that deflate can do (258 bytes in two bits, RFC 1951, 3.2.5)."""
MAX_TEXT = 16 << 20
TEXTS = ("model_config", "layer_names", "layer_names0", "name", "dtype")

_STEP = 1000
"""Objects between two calls of ``progress``."""

_FILTERS = (h5z.FILTER_DEFLATE, h5z.FILTER_SHUFFLE, h5z.FILTER_FLETCHER32)
_CLASSES = {
    h5t.FLOAT: {
        "float64": (h5t.IEEE_F64LE, h5t.IEEE_F64BE),
        "float32": (h5t.IEEE_F32LE, h5t.IEEE_F32BE),
        "float16": (h5t.IEEE_F16LE, h5t.IEEE_F16BE),
    },
    h5t.INTEGER: {
        "int64": (h5t.STD_I64LE, h5t.STD_I64BE),
        "int32": (h5t.STD_I32LE, h5t.STD_I32BE),
        "int16": (h5t.STD_I16LE, h5t.STD_I16BE),
        "int8": (h5t.STD_I8LE, h5t.STD_I8BE),
        "uint64": (h5t.STD_U64LE, h5t.STD_U64BE),
        "uint32": (h5t.STD_U32LE, h5t.STD_U32BE),
        "uint16": (h5t.STD_U16LE, h5t.STD_U16BE),
        "uint8": (h5t.STD_U8LE, h5t.STD_U8BE),
    },
}

_BFLOAT16_FIELDS = (15, 7, 8, 0, 7)
"""First bit of the sign; first bit and number of bits of the exponent; of the mantissa."""

while h5pl.size():  # a filter that a file names must not be looked for among the libraries of this machine
    h5pl.remove(0)


class Hdf5Store:
    """An open HDF5 file of ``size`` bytes that begins at ``origin`` of a descriptor.

    ``datasets`` is path → dataset, a dataset under several hard links once; what isn't numbers is left out. ``texts``
    is (path, attribute) → text, for the attributes in ``TEXTS``; empty where they are no single text.

    Raises:
        UnreadableCheckpoint: where the file is damaged, claims what it can't hold, or refers to other files.
    """

    def __init__(
        self, name: str, descriptor: int, origin: int, size: int, progress: Callable[[], object]
    ) -> None:
        self.name, self._size, self._progress = name, size, progress
        self.datasets: dict[str, Dataset] = {}
        self.texts: dict[tuple[str, str], str] = {}
        self._seen: set[int] = set()
        self._extents: list[tuple[int, int]] = []
        self._stored = 0
        self._path: str | None = None
        """Of the dataset that was read last, which stays open: a chunk that its pieces share is unpacked once."""
        self._stream = _Stream(descriptor, origin, size)
        with self._library():
            access = h5p.create(h5p.FILE_ACCESS)
            access.set_fileobj_driver(h5fd.fileobj_driver, self._stream)
            self._file = h5f.open(b"weights", h5f.ACC_RDONLY, access)
            self._visit("", h5g.open(self._file, b"/"), 0)
            self._check_extents()

    def read(self, path: str, box: Box, into: mmap.mmap) -> None:
        """Put the values of a dataset within a box at the beginning of ``into`` (bfloat16 as its bits)."""
        found = self.datasets[path]
        shape = tuple(stop - start for start, stop in box)
        values = np.frombuffer(into, found.dtype, math.prod(shape)).reshape(shape)
        with self._library():
            if path != self._path:
                access = h5p.create(h5p.DATASET_ACCESS)
                access.set_chunk_cache(521, MAX_CHUNK, 1.0)
                self._dataset = h5d.open(self._file, path.encode(errors="surrogateescape"), access)
                self._path = path
            dataset = self._dataset
            space, memory = dataset.get_space(), h5s.create(h5s.SCALAR)
            if box:
                space.select_hyperslab(tuple(start for start, _ in box), shape)
                memory = h5s.create_simple(shape)
            kind = dataset.get_type() if found.type == BFLOAT16 else h5t.py_create(values.dtype)
            dataset.read(memory, space, values, kind)

    @contextmanager
    def _library(self) -> Iterator[None]:
        try:
            yield
        except UnreadableCheckpoint:
            raise
        except MemoryError as error:
            raise ExcessiveSize(f"{self.name}: needs more memory than any network's file") from error
        except Exception as error:  # the library raises whichever built-in class it finds fit
            reason = str(error).strip("'\" \n").split("\n")[0][:160]
            raise CorruptFile(f"{self.name}: not a whole HDF5 file: {reason}") from error
        finally:
            if self._stream.is_short:
                raise FileChanged(f"{self.name}: became shorter while it was read")

    def _visit(self, path: str, thing: h5o.ObjectID, depth: int) -> None:
        about = h5o.get_info(thing)
        if about.addr in self._seen:
            return
        self._seen.add(about.addr)
        if len(self._seen) % _STEP == 0:
            self._progress()
        if about.num_attrs and isinstance(thing, h5g.GroupID | h5d.DatasetID):
            self._take_texts(path, thing)
        if isinstance(thing, h5g.GroupID):
            self._scan(path, thing, depth)
        elif isinstance(thing, h5d.DatasetID):
            self._take(path, thing)

    def _scan(self, path: str, group: h5g.GroupID, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise ExcessiveSize(f"{self.name}: groups nested more than {MAX_DEPTH} deep")
        if group.get_num_objs() + len(self._seen) > MAX_OBJECTS:
            raise ExcessiveSize(f"{self.name}: more than {MAX_OBJECTS:,} objects")
        for key in list(group):
            child = "/".join(filter(None, (path, key.decode(errors="surrogateescape"))))
            kind = group.links.get_info(key).type
            if kind == h5l.TYPE_HARD:
                self._visit(child, h5o.open(group, key), depth + 1)
            elif kind != h5l.TYPE_SOFT:  # a soft link is a second name of what is listed anyway
                raise ForbiddenPath(f"{self.name}: {child!r} is a link to another file")

    def _take_texts(self, path: str, thing: h5g.GroupID | h5d.DatasetID) -> None:
        for key in TEXTS:
            if h5a.exists(thing, key.encode()):
                self.texts[path, key] = self._text(path, h5a.open(thing, key.encode()))

    def _text(self, path: str, attribute: h5a.AttrID) -> str:
        kind = attribute.get_type()
        if kind.get_class() != h5t.STRING or attribute.get_space().get_simple_extent_type() != h5s.SCALAR:
            return ""
        if kind.get_size() > MAX_TEXT:
            raise ExcessiveSize(f"{self.name}: an attribute of {kind.get_size():,} bytes at {path!r}")
        value = np.empty((), kind.dtype)
        attribute.read(value)
        text = value.item()
        return text.decode(errors="replace") if isinstance(text, bytes) else str(text)

    def _take(self, path: str, dataset: h5d.DatasetID) -> None:
        layout = dataset.get_create_plist()
        if layout.get_external_count():
            raise ForbiddenPath(f"{self.name}: the values of {path!r} are in another file")
        if layout.get_layout() == h5d.VIRTUAL:
            raise ForbiddenPath(f"{self.name}: {path!r} is put together from other datasets")
        kind, space = self._type(path, dataset.get_type()), dataset.get_space()
        if kind and space.get_simple_extent_type() != h5s.NULL:
            shape = tuple(map(int, space.get_simple_extent_dims()))
            self._check_size(path, dataset, layout, shape)
            self.datasets[path] = Dataset(shape, kind)

    def _type(self, path: str, kind: h5t.TypeID) -> str | None:
        """The name of a type of numbers; ``None`` for texts, records, and what else is no tensor."""
        types = _CLASSES.get(kind.get_class(), {})
        name = next((name for name, known in types.items() if any(map(kind.equal, known))), None)
        if kind.get_class() == h5t.FLOAT and not name and self._is_bfloat16(kind):
            return BFLOAT16
        if (
            kind.get_class() == h5t.OPAQUE and self.texts.get((path, "dtype")) == BFLOAT16
        ):  # as Keras notes it
            return BFLOAT16 if kind.get_size() == 2 else None
        if kind.get_class() in (h5t.FLOAT, h5t.OPAQUE) and not name:
            raise UnsupportedFormat(f"{self.name}: {path!r} is of a type of numbers that is not read")
        return name

    def _is_bfloat16(self, kind: h5t.TypeFloatID) -> bool:
        is_ordered = kind.get_size() == 2 and kind.get_order() == h5t.ORDER_LE
        return is_ordered and kind.get_fields() == _BFLOAT16_FIELDS and kind.get_ebias() == 127

    def _check_size(
        self, path: str, dataset: h5d.DatasetID, layout: h5p.PropDCID, shape: tuple[int, ...]
    ) -> None:
        width, stored = dataset.get_type().get_size(), dataset.get_storage_size()
        filters = [layout.get_filter(index)[0] for index in range(layout.get_nfilters())]
        for number in filters:
            if number not in _FILTERS:
                raise UnsupportedFormat(
                    f"{self.name}: {path!r} is packed by filter {number}, which is not read"
                )
        is_chunked, claimed = layout.get_layout() == h5d.CHUNKED, math.prod(shape) * width
        if is_chunked and math.prod(layout.get_chunk()) * width > MAX_CHUNK:
            raise ExcessiveSize(f"{self.name}: {path!r} is in chunks of more than {MAX_CHUNK:,} bytes")
        if math.prod(max(size, 1) for size in shape) * width > MAX_BYTES:  # also of an empty array
            raise ExcessiveSize(f"{self.name}: {path!r} has dimensions {shape}")
        if claimed > stored * (MAX_RATIO if h5z.FILTER_DEFLATE in filters else 1):
            raise ExcessiveSize(f"{self.name}: {path!r} claims {claimed:,} bytes, {stored:,} are stored")
        self._stored += stored
        if stored and layout.get_layout() == h5d.CONTIGUOUS:
            self._extents.append((dataset.get_offset(), dataset.get_offset() + stored))

    def _check_extents(self) -> None:
        if self._stored > self._size:
            raise CorruptFile(f"{self.name}: its datasets take {self._stored:,} bytes of {self._size:,}")
        end = 0
        for start, stop in sorted(self._extents):
            if start < end or stop > self._size:
                raise CorruptFile(f"{self.name}: datasets that overlap, or go beyond the end")
            end = stop


class _Stream(io.RawIOBase):
    """The bytes as the file object that the library reads; it opens no file of its own."""

    def __init__(self, descriptor: int, origin: int, size: int) -> None:
        self._descriptor, self._origin, self._size, self._place = descriptor, origin, size, 0
        self.is_short = False

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = offset + (self._size if whence == io.SEEK_END else 0)
        return self._place

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill the buffer, with zeros beyond the end: the library doesn't notice if it is given less."""
        view, done = memoryview(buffer), 0
        wanted = max(min(len(view), self._size - self._place), 0)
        while done < wanted:
            count = os.preadv(self._descriptor, [view[done:wanted]], self._origin + self._place + done)
            if not count:
                self.is_short = True
                break
            done += count
        view[done:] = bytes(len(view) - done)
        self._place += len(view)
        return len(view)

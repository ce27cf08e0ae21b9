"""Tensors in PyTorch's pickles: views, by offset and strides, of storages that lie elsewhere in the file."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from peace_pipeline.weights.errors import CorruptFile, ExcessiveSize, UnreadableCheckpoint, UnsupportedFormat
from peace_pipeline.weights.extents import Place
from peace_pipeline.weights.formats.pickles import Object, Persistent
from peace_pipeline.weights.local_blob import Blob
from peace_pipeline.weights.tensors import MAX_DIMENSIONS

_MAX_VALUES = 1 << 63
MAX_ARGUMENTS = 16
"""Of a pickled call or storage: none of PyTorch's or NumPy's has more."""

_LARGE = 16 << 20
"""Bytes of a tensor whose values must each stand at one place."""

_STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "QInt8Storage": torch.int8,
    "QUInt8Storage": torch.uint8,
    "QInt32Storage": torch.int32,
    "UntypedStorage": torch.uint8,
}


class Storages(Protocol):
    """The storages of one file, by key."""

    blob: Blob
    swapped: bool
    """Whether the bytes of a number lie in the other order than on this machine."""

    def size(self, key: str) -> int:
        """Bytes of a storage.

        Raises:
            CorruptFile: where there is none of that key.
        """

    def origin(self, key: str) -> int:
        """Where a storage begins in the file.

        Raises:
            UnreadableCheckpoint: where its bytes don't lie there as they are.
        """


class NoStorages:
    """Of a pickle that is not of torch.save: its arrays are within it, and storages as files of their own."""

    swapped = False

    def __init__(self, blob: Blob) -> None:
        self.blob = blob
        self.files: dict[int, tuple[Persistent, Storages] | None] = {}
        """Storages by the ids of their files' bytes, of which many tensors may be views; none of damaged ones."""

    def size(self, key: str) -> int:
        """See :class:`Storages`."""
        raise CorruptFile("has no storage in the file")

    def origin(self, key: str) -> int:
        """See :class:`Storages`."""
        raise CorruptFile("has no storage in the file")


class View(NamedTuple):
    """Values of a storage, by their place in it."""

    key: str
    within: Place

    @property
    def dtype(self) -> torch.dtype:
        return self.within.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return self.within.shape

    @property
    def stored(self) -> str | None:
        """Encoding in the file, where reading gives another."""
        return None

    def place(self, storages: Storages) -> Place:
        """Where the values lie in the file.

        Raises:
            UnreadableCheckpoint: where the storage is not there by position.
        """
        if self.within.is_empty:
            return self.within
        start = storages.origin(self.key) + self.within.start
        return self.within._replace(start=start, swapped=storages.swapped)

    def read(self, storages: Storages, rows: tuple[int, int] | None = None) -> torch.Tensor:
        """The values, or those of rows [start, stop), in memory of their own."""
        part = self if rows is None else self._replace(within=self.within.rows(*rows))
        return part.place(storages).read(storages.blob)


@dataclass(frozen=True, slots=True)
class Quantised:
    """Integers that stand for (integer − zero point)·scale, with one scale for all or one a place along ``axis``."""

    codes: View
    stored: str
    scale: View | float
    zero_point: View | float
    axis: int

    dtype = torch.float32

    @property
    def shape(self) -> tuple[int, ...]:
        return self.codes.shape

    def read(self, storages: Storages, rows: tuple[int, int] | None = None) -> torch.Tensor:
        """See :class:`View`."""
        codes = self.codes.read(storages, rows).float()
        scale, zero_point = (self._along(value, storages, rows) for value in (self.scale, self.zero_point))
        return codes.sub_(zero_point).mul_(scale)

    def _along(self, value: View | float, storages: Storages, rows: tuple[int, int] | None) -> torch.Tensor:
        if isinstance(value, float):
            return torch.tensor(value)
        along = value.read(storages, rows if self.axis == 0 else None).float()
        return along.view(-1, *[1] * (len(self.shape) - self.axis - 1))


@dataclass(frozen=True, slots=True, eq=False)
class Array:
    """A NumPy array, whose values lie in the pickle itself."""

    data: bytes
    layout: np.dtype
    dtype: torch.dtype
    shape: tuple[int, ...]
    by_columns: bool

    stored = None

    def read(self, storages: Storages, rows: tuple[int, int] | None = None) -> torch.Tensor:
        """See :class:`View`."""
        array = np.frombuffer(self.data, self.layout).reshape(
            self.shape, order="F" if self.by_columns else "C"
        )
        part = array if rows is None else array[rows[0] : rows[1]]
        return torch.from_numpy(np.array(part, self.layout.newbyteorder("="), order="C")).view(self.dtype)

    @property
    def turned(self) -> Array:
        """A matrix with its axes swapped; any other array as it is."""
        if len(self.shape) != 2:
            return self
        return replace(self, shape=self.shape[::-1], by_columns=not self.by_columns)


@dataclass(frozen=True, slots=True, eq=False)
class Within:
    """A tensor whose storage lies in the pickle itself, as a file of its own."""

    view: View
    storages: Storages

    stored = None

    @property
    def dtype(self) -> torch.dtype:
        return self.view.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        return self.view.shape

    def read(self, _: Storages, rows: tuple[int, int] | None = None) -> torch.Tensor:
        """See :class:`View`."""
        return self.view.read(self.storages, rows)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A tensor that can't be had."""

    reason: UnreadableCheckpoint
    """What follows “tensor …” in a sentence."""


Tensor = View | Quantised | Array | Within


def view(
    storage: Persistent,
    offset: Any,
    shape: Any,
    strides: Any,
    storages: Storages,
    dtype: torch.dtype | None = None,
) -> View:
    """A view, checked against the bytes that the file has for its storage."""
    region = _region(storage, storages)
    shape = shape.arguments[0] if isinstance(shape, Object) else shape  # torch.Size
    check_shape(shape)
    if type(strides) is not tuple or len(strides) != len(shape):
        raise ValueError
    dtype = dtype or region.dtype
    width = dtype.itemsize
    _check_numbers(offset, *strides)
    if region.start % width:
        raise ValueError
    place = Place(region.start + offset * width, dtype, shape, strides)
    if place.is_empty:
        return View(region.key, place)
    size = region.stop - region.start
    if place.stop > region.stop:
        raise CorruptFile(f"of shape {shape} goes beyond its storage of {size:,} bytes")
    if math.prod(shape) * width > size or (place.span > _LARGE and place.overlaps):
        raise UnsupportedFormat(f"of shape {shape} repeats its values by strides {strides}")
    return View(region.key, place)


class _Region(NamedTuple):
    """Bytes [start, stop) of a storage, and what they are."""

    key: str
    dtype: torch.dtype
    start: int
    stop: int


def _region(storage: Persistent, storages: Storages) -> _Region:
    """The storage, or the part of one (in old files), that a persistent id stands for."""
    mark, kind, key, location, length, *view = storage.id[:MAX_ARGUMENTS]
    if mark != "storage" or location == "meta":
        raise UnsupportedFormat("has no values")
    if type(key) is not str and type(key) is not int:
        raise TypeError
    name = kind.path.rpartition(".")[2]
    if name not in _STORAGES:
        raise UnsupportedFormat(f"is kept in {name[:40]}, which is not read")
    dtype = _STORAGES[name]
    _check_numbers(length)
    if length * dtype.itemsize > storages.size(str(key)):
        raise CorruptFile(f"has a storage of fewer than {length:,} values")
    if not view or view[0] is None:
        return _Region(str(key), dtype, 0, length * dtype.itemsize)
    _, start, part = view[0]
    _check_numbers(start, part)
    if start + part > length:
        raise CorruptFile("goes beyond its storage")
    return _Region(str(key), dtype, start * dtype.itemsize, (start + part) * dtype.itemsize)


def width_of(storage: Persistent) -> tuple[str, int] | None:
    """Key, and bytes of one value, of a storage; none where it is something else."""
    try:
        mark, kind, key, *_ = storage.id[:MAX_ARGUMENTS]
        name = kind.path.rpartition(".")[2]
        return (str(key), _STORAGES[name].itemsize) if type(key) in (str, int) and mark == "storage" else None
    except (AttributeError, LookupError, TypeError, ValueError):  # an id of any kind
        return None


def check_shape(shape: Any) -> None:
    """Raises:
    ValueError: where it isn't one.
    ExcessiveSize: where it has more dimensions than PyTorch and NumPy allow.
    """
    if type(shape) is not tuple:
        raise ValueError
    if len(shape) > MAX_DIMENSIONS:
        raise ExcessiveSize(f"has {len(shape):,} dimensions")
    _check_numbers(*shape)
    if math.prod(n for n in shape if n) >= _MAX_VALUES:
        raise CorruptFile(f"of shape {shape} is larger than any file")


def _check_numbers(*numbers: Any) -> None:
    """Raises ValueError where these are no counts or positions."""
    for number in numbers:
        if type(number) is not int or not 0 <= number < _MAX_VALUES:
            raise ValueError

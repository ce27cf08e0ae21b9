"""Tensors in PyTorch's pickles: views, by offset and strides, of storages that lie elsewhere in the file."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from peace_pipeline.weights.errors import CorruptFile, ExcessiveSize, UnreadableCheckpoint, UnsupportedFormat
from peace_pipeline.weights.extents import Place
from peace_pipeline.weights.formats.pickles import Global, Object, Persistent
from peace_pipeline.weights.local_blob import Blob
from peace_pipeline.weights.tensors import MAX_DIMENSIONS

"""More than PyTorch has (25) or NumPy (64)."""

_MAX_VALUES = 1 << 63
_MAX_ARGUMENTS = 16
_MAX_WRAPPED = 8
"""A parameter of a parameter of …"""

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
_QUANTISED = {"QInt8Storage": "qint8", "QUInt8Storage": "quint8", "QInt32Storage": "qint32"}
_FLOATS = ("float64", "float32", "float16", "bfloat16")
_FLOATS_8 = ("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu")
_INTEGERS = tuple(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))
_DTYPES = {
    f"torch.{name}": getattr(torch, name)
    for name in (*_FLOATS, *_FLOATS_8, *_INTEGERS, "bool", "complex64", "complex128")
}
_ARRAYS = {
    np.dtype(name).str[1:]: getattr(torch, name) for name in ("float64", "float32", "float16", *_INTEGERS)
}
_ARRAYS |= {"b1": torch.bool, "c8": torch.complex64, "c16": torch.complex128}


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
        return torch.from_numpy(np.array(part, self.layout.newbyteorder("="), order="C"))


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A tensor that can't be had."""

    reason: UnreadableCheckpoint
    """What follows “tensor …” in a sentence."""


Tensor = View | Quantised | Array


def tensor_of(record: Any, storages: Storages) -> Tensor | Unreadable | None:
    """The tensor that a pickled object stands for; none where it is something else."""
    try:
        for _ in range(_MAX_WRAPPED):
            if not isinstance(record, Object) or not isinstance(record.maker, Global):
                return None
            path, arguments = record.maker.path, record.arguments
            if len(arguments) > _MAX_ARGUMENTS:
                return None
            if path in _WRAPPERS:
                record = arguments[0]
            elif path in _TYPED:
                record = Object(arguments[0], arguments[2])
            elif path in _MAKERS:
                return _MAKERS[path](record, storages)
            else:
                return None
    except (UnsupportedFormat, CorruptFile, ExcessiveSize) as error:
        return Unreadable(error)
    except (
        ArithmeticError,
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
    ):  # arguments of any number and kind
        return Unreadable(CorruptFile("is described by nonsense"))
    return None


def _plain(record: Object, storages: Storages) -> View:
    storage, offset, shape, strides, *rest = record.arguments
    if len(rest) > 2 and rest[2]:
        raise UnsupportedFormat("is a lazy conjugate or negative")
    return _view(storage, offset, shape, strides, storages)


def _typed(record: Object, storages: Storages) -> View:
    storage, offset, shape, strides, _, _, dtype, *rest = record.arguments
    if rest and rest[0]:
        raise UnsupportedFormat("is a lazy conjugate or negative")
    if dtype.path not in _DTYPES:
        raise UnsupportedFormat(f"is of type {dtype.path[:40]}, which is not read")
    return _view(storage, offset, shape, strides, storages, _DTYPES[dtype.path])


def _quantised(record: Object, storages: Storages) -> Quantised:
    storage, offset, shape, strides, (scheme, scale, zero_point, *axis), *_ = record.arguments
    kind = storage.id[1].path.rpartition(".")[2]
    if kind not in _QUANTISED:
        raise UnsupportedFormat(f"is quantised by {scheme.path[:40]} in {kind[:40]}, which is not read")
    codes = _view(storage, offset, shape, strides, storages)
    if not axis:
        return Quantised(codes, _QUANTISED[kind], float(scale), float(zero_point), 0)
    if type(axis[0]) is not int or not 0 <= axis[0] < len(codes.shape):
        raise ValueError
    places = codes.shape[axis[0]]
    scales, zero_points = (_scales(value, places, storages) for value in (scale, zero_point))
    return Quantised(codes, _QUANTISED[kind], scales, zero_points, axis[0])


def _scales(record: Any, count: int, storages: Storages) -> View:
    scales = tensor_of(record, storages)
    if not isinstance(scales, View) or scales.shape != (count,):
        raise ValueError
    return scales


def _array(record: Object, _: Storages) -> Array | None:
    _, shape, layout, by_columns, data = record.state
    return _packed(data, layout, shape, by_columns)


def _buffer(record: Object, _: Storages) -> Array | None:
    data, layout, shape, order = record.arguments
    return _packed(data, layout, shape, order == "F")


def _packed(data: Any, layout: Object, shape: Any, by_columns: bool) -> Array | None:
    code = layout.arguments[0]
    if code not in _ARRAYS:  # texts, dates, objects
        return None
    if type(data) is str:  # of Python 2
        data = data.encode("latin-1")
    dtype = np.dtype(code).newbyteorder(layout.state[1] if layout.state else "=")
    _check_shape(shape)
    if math.prod(shape) * dtype.itemsize != len(data):
        raise CorruptFile(f"of shape {shape} does not take {len(data):,} bytes")
    if type(data) is not bytes:
        raise TypeError
    return Array(data, dtype, _ARRAYS[code], shape, bool(by_columns))


def _refuse(reason: str) -> Callable[[Object, Storages], Unreadable]:
    return lambda _record, _storages: Unreadable(UnsupportedFormat(reason))


_MAKERS: dict[str, Callable[[Object, Storages], Tensor | Unreadable | None]] = {
    "torch._utils._rebuild_tensor": _plain,
    "torch._utils._rebuild_tensor_v2": _plain,
    "torch._utils._rebuild_tensor_v3": _typed,
    "torch._utils._rebuild_qtensor": _quantised,
    "torch._utils._rebuild_sparse_tensor": _refuse("is sparse"),
    "torch._utils._rebuild_sparse_csr_tensor": _refuse("is sparse"),
    "torch._utils._rebuild_nested_tensor": _refuse("is nested"),
    "torch._utils._rebuild_meta_tensor_no_storage": _refuse("is on the device meta, which has no values"),
    "torch._utils._rebuild_wrapper_subclass": _refuse("is of a class of its own"),
    "torch._utils._rebuild_device_tensor_from_numpy": _refuse("lay on a device of another kind"),
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _refuse("lay on a device of another kind"),
    "torch._utils._rebuild_xla_tensor": _refuse("lay on a device of another kind"),
}
for _package in ("numpy.core", "numpy._core"):
    _MAKERS[f"{_package}.multiarray._reconstruct"] = _array
    _MAKERS[f"{_package}.numeric._frombuffer"] = _buffer

_WRAPPERS = {
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_parameter_with_state",
    "torch.nn.parameter.Parameter",
}
_TYPED = {"torch._tensor._rebuild_from_type", "torch._tensor._rebuild_from_type_v2"}


def _view(
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
    _check_shape(shape)
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
    mark, kind, key, location, length, *view = storage.id[:_MAX_ARGUMENTS]
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
        mark, kind, key, *_ = storage.id[:_MAX_ARGUMENTS]
        name = kind.path.rpartition(".")[2]
        return (str(key), _STORAGES[name].itemsize) if type(key) in (str, int) and mark == "storage" else None
    except (AttributeError, LookupError, TypeError, ValueError):  # an id of any kind
        return None


def _check_shape(shape: Any) -> None:
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

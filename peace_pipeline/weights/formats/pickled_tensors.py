"""Pickled objects that stand for tensors: what PyTorch and NumPy would call to make them, and is never called."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from peace_pipeline.weights.errors import (
    CorruptFile,
    ExcessiveSize,
    UnreadableCheckpoint,
    UnsupportedFormat,
)
from peace_pipeline.weights.formats import legacy
from peace_pipeline.weights.formats.pickles import Global, Object, Persistent
from peace_pipeline.weights.formats.storages import (
    MAX_ARGUMENTS,
    Array,
    NoStorages,
    Quantised,
    Storages,
    Tensor,
    Unreadable,
    View,
    Within,
    check_shape,
    view,
)
from peace_pipeline.weights.local_blob import Bytes

_OF_BYTES = Global("torch.storage._load_from_bytes")
_MAX_WRAPPED = 8
"""A parameter of a parameter of …"""

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


def tensor_of(record: Any, storages: Storages) -> Tensor | Unreadable | None:
    """The tensor that a pickled object stands for; none where it is something else."""
    try:
        for _ in range(_MAX_WRAPPED):
            if not isinstance(record, Object) or not isinstance(record.maker, Global):
                return None
            path, arguments = record.maker.path, record.arguments
            if len(arguments) > MAX_ARGUMENTS:
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


def _plain(record: Object, storages: Storages) -> View | Within:
    storage, offset, shape, strides, *rest = record.arguments
    if len(rest) > 2 and rest[2]:
        raise UnsupportedFormat("is a lazy conjugate or negative")
    return _view(storage, offset, shape, strides, storages)


def _view(
    storage: Any, offset: Any, shape: Any, strides: Any, storages: Storages, dtype: torch.dtype | None = None
) -> View | Within:
    if not isinstance(storage, Object):
        return view(storage, offset, shape, strides, storages, dtype)
    kept, own = _within(storage, storages)
    return Within(view(kept, offset, shape, strides, own, dtype), own)


def _within(storage: Object, storages: Storages) -> tuple[Persistent, Storages]:
    """A storage that is pickled as a file of PyTorch's, and the storages of that file, which is its only one."""
    (content,) = storage.arguments
    if storage.maker != _OF_BYTES or type(content) is not bytes or not isinstance(storages, NoStorages):
        raise TypeError
    if id(content) not in storages.files:
        try:
            storages.files[id(content)] = legacy.opened(Bytes(storages.blob.name, content))
        except UnreadableCheckpoint:
            storages.files[id(content)] = None
    found = storages.files[id(content)]
    if found is None:
        raise CorruptFile("has a storage that is no file of PyTorch's")
    return found


def _typed(record: Object, storages: Storages) -> View | Within:
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
    codes = view(storage, offset, shape, strides, storages)
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
    check_shape(shape)
    if math.prod(shape) * dtype.itemsize != len(data):
        raise CorruptFile(f"of shape {shape} does not take {len(data):,} bytes")
    if type(data) is not bytes:
        raise TypeError
    return Array(data, dtype, _ARRAYS[code], shape, bool(by_columns))


def _refuse(reason: str) -> Callable[[Object, Storages], Unreadable]:
    return lambda _record, _storages: Unreadable(UnsupportedFormat(reason))


def _of_a_class(record: Object, _: Storages) -> Unreadable:
    kind = record.arguments[0] if record.arguments else None
    name = kind.path.rpartition(".")[2] if isinstance(kind, Global) else ""
    return Unreadable(UnsupportedFormat(f"is of a class of its own{name and f', {name[:40]}'}"))


_MAKERS: dict[str, Callable[[Object, Storages], Tensor | Unreadable | None]] = {
    "torch._utils._rebuild_tensor": _plain,
    "torch._utils._rebuild_tensor_v2": _plain,
    "torch._utils._rebuild_tensor_v3": _typed,
    "torch._utils._rebuild_qtensor": _quantised,
    "torch._utils._rebuild_sparse_tensor": _refuse("is sparse"),
    "torch._utils._rebuild_sparse_csr_tensor": _refuse("is sparse"),
    "torch._utils._rebuild_nested_tensor": _refuse("is nested"),
    "torch._utils._rebuild_meta_tensor_no_storage": _refuse("is on the device meta, which has no values"),
    "torch._utils._rebuild_wrapper_subclass": _of_a_class,
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

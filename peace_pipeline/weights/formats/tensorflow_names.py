"""Variables of Flax and TensorFlow as PyTorch would name and lay them out.

Where every name ends as these libraries call variables (``kernel``, ``bias``, ``scale`` …), kernels (*kernel, in, out)
become weights (out, in, *kernel); else names and layout stay. Gates of recurrent layers stay in their order, i, f, g,
o for an LSTM's; a layer after a flattened image has its inputs in the order (height, width, channel).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from peace_pipeline.weights.errors import DuplicateTensor, UnsupportedFormat
from peace_pipeline.weights.extents import Place

_RENAMED = {
    "kernel": "weight",
    "depthwise_kernel": "weight",
    "pointwise_kernel": "pointwise.weight",
    "recurrent_kernel": "recurrent_kernel",
    "bias": "bias",
    "embedding": "weight",
    "embeddings": "weight",
    "scale": "weight",
    "gamma": "weight",
    "beta": "bias",
    "mean": "running_mean",
    "var": "running_var",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}
"""What Flax and Keras call a variable → what PyTorch would."""
_TABLES = re.compile(
    r"(.*_)?embeddings?(_table)?|cls|pos_?embed\w*|position\w*|.*_token|count|iterations|step|\w*_step", re.I
)
"""Last names of other variables that networks of these libraries have; they stay."""
_COLLECTIONS = re.compile(r"(params|batch_stats|variables|model|state)\.")
_ATTENTION_IN = re.compile(r"(query|key|value|q|k|v)(_proj)?", re.I)
_ATTENTION_OUT = re.compile(r"(out|attention_output|o)(_proj)?", re.I)
_KERNELS = ("kernel", "recurrent_kernel", "pointwise_kernel")


def as_pytorch(file: str, variables: Mapping[str, Place]) -> dict[str, Place]:
    """The tensors of a file whose variables have dots, or slashes, in their names.

    Raises:
        DuplicateTensor: where two get one name.
    """
    named = {name.replace("/", "."): place for name, place in variables.items()}
    if len(named) < len(variables):
        raise DuplicateTensor(f"{file}: two tensors have one name, with dots for slashes")
    lasts = {name.rpartition(".")[2] for name in named}
    kernels = lasts & {"kernel", "depthwise_kernel"}
    if not kernels or not all(last in _RENAMED or _TABLES.fullmatch(last) for last in lasts):
        return named
    found: dict[str, Place] = {}
    for name, place in named.items():
        try:
            new, laid_out = _of(name, place)
        except UnsupportedFormat as error:
            raise UnsupportedFormat(f"{file}: {name[:80]!r}: {error}") from error
        new = new if new not in found else name
        if new in found:
            raise DuplicateTensor(f"{file}: two tensors have the name {new[:80]!r}")
        found[new] = laid_out
    return found


def _of(name: str, place: Place) -> tuple[str, Place]:
    while match := _COLLECTIONS.match(name):
        name = name[match.end() :]
    prefix, _, last = name.rpartition(".")
    new = _RENAMED.get(last, last)
    parent = prefix.rpartition(".")[2]
    if last in _KERNELS:
        place = _kernel(place, parent)
    elif last == "depthwise_kernel" and len(place.shape) == 4:
        high, wide, into, times = place.shape
        place = _permuted(_reshaped(place, (high, wide, into * times, 1)), (2, 3, 0, 1))
    elif last == "bias" and len(place.shape) == 2 and _ATTENTION_IN.fullmatch(parent):
        place = _reshaped(place, (math.prod(place.shape),))
    return f"{prefix}.{new}" if prefix else new, place


def _kernel(place: Place, parent: str) -> Place:
    shape = place.shape
    if len(shape) == 3 and _ATTENTION_IN.fullmatch(parent):  # of Flax: (in, heads, size)
        return _permuted(_reshaped(place, (shape[0], shape[1] * shape[2])), (1, 0))
    if len(shape) == 3 and _ATTENTION_OUT.fullmatch(parent):
        return _permuted(_reshaped(place, (shape[0] * shape[1], shape[2])), (1, 0))
    if len(shape) < 2:
        return place
    spatial = range(len(shape) - 2)
    return _permuted(place, (len(shape) - 1, len(shape) - 2, *spatial))


def _permuted(place: Place, axes: tuple[int, ...]) -> Place:
    return place._replace(
        shape=tuple(place.shape[axis] for axis in axes), strides=tuple(place.strides[axis] for axis in axes)
    )


def _reshaped(place: Place, shape: tuple[int, ...]) -> Place:
    """Of values one after another.

    Raises:
        UnsupportedFormat: where they lie in another order.
    """
    if not place.is_contiguous:
        raise UnsupportedFormat(f"an array of shape {place.shape} in Fortran's order is not read as a kernel")
    strides = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
    return place._replace(shape=shape, strides=strides)

"""Quantised weights whose scales lie beside them become the floating tensors that they stand for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from peace_pipeline.weights.checkpoint import Checkpoint
from peace_pipeline.weights.errors import UnsupportedFormat
from peace_pipeline.weights.tensors import TensorInfo, dtype_name
from peace_pipeline.weights.views import Computed, View, Views, finished, positions, precision

_SCALES = (
    (re.compile(r"(.+)_scale_inv"), r"\1", 1.0),  # DeepSeek-V3's float8
    (re.compile(r"(.+)_scale"), r"\1", 1.0),  # compressed-tensors' float8 and int8
    (re.compile(r"(.+\.)SCB"), r"\1weight", 1 / 127),  # bitsandbytes' int8: the rows' largest magnitudes
)
"""Name of a tensor of scales, name of the tensor that it scales, and what the scales are multiples of."""
_SCALE_ENDS = ("_scale_inv", "_scale", ".SCB")

_BLOCK = (128, 128)
_STEP = 1024
_PACKED = {
    "qweight": "GPTQ or AWQ",
    "weight_packed": "compressed-tensors",
    "W_q": "HQQ",
    "absmax": "bitsandbytes 4-bit",
    "weight_zero_point": "compressed-tensors with zero points",
    "weight_scale_2": "NVFP4",
    "weight_scales": "EETQ",
    "_data": "quanto",
}
"""Last component of a tensor that only a packed scheme has → the scheme."""
_UNPACKED = frozenset({"fp8", "fbgemm_fp8", "compressed-tensors", "modelopt", "bitsandbytes"})
"""Methods by config.json's ``quant_method`` that may leave every weight as wide as it was."""


@dataclass(frozen=True)
class Scaled(Computed):
    """A weight (out, …) times its scales: a grid (rows, columns) with one scale a ``block`` of the flat weight."""

    info: TensorInfo
    weight: View
    scale: View
    grid: tuple[int, int]
    block: tuple[int, int]
    unit: float

    @property
    def parts(self) -> tuple[View, ...]:
        """See :class:`Computed`."""
        return self.weight, self.scale

    def read(self, checkpoint: Checkpoint, dtype: torch.dtype | None) -> torch.Tensor:
        """See :class:`View`."""
        work = precision(dtype)
        weight = self.weight.read(checkpoint, work).contiguous()
        scale = self.scale.read(checkpoint, work).reshape(self.grid) * self.unit
        flat = weight.view(len(weight), -1)
        rows = positions(self.info, 0) // self.block[0]
        columns = torch.arange(flat.shape[1]) // self.block[1]
        for start in range(0, len(flat), _STEP):  # never a matrix of scales as large as the weight
            flat[start : start + _STEP] *= scale[rows[start : start + _STEP]][:, columns]
        return finished(self.info, weight, dtype)


def unscaled(views: Views, config: Mapping[str, Any]) -> Views:
    """Views in which no weight is quantised and no scales are left.

    Raises:
        UnsupportedFormat: where weights are packed, or quantised in a way that nothing here undoes.
    """
    settings = config.get("quantization_config")
    settings = settings if isinstance(settings, Mapping) else {}
    result = dict(views)
    for name, view in views.items():
        weight, unit = _weight_of(name, views) if name.endswith(_SCALE_ENDS) else (None, 1.0)
        if weight is not None:
            result[weight.info.name] = _scaled(weight, view, unit, settings)
            result.pop(name)
    for name, view in result.items():
        if _is_packed(name, view.info, result, settings):
            scheme = settings.get("quant_method") or _PACKED.get(name.rpartition(".")[2])
            raise UnsupportedFormat(
                f"tensor {name!r}: quantised ({str(scheme)[:40]}) in a way that is not read"
            )
    return result


def _weight_of(name: str, views: Views) -> tuple[View | None, float]:
    """The weight that a tensor of this name scales, and what its scales are multiples of."""
    for pattern, base, unit in _SCALES:
        match = pattern.fullmatch(name)
        weight = views.get(match.expand(base)) if match else None
        if weight is not None and _is_quantised(weight.info):
            return weight, unit
    return None, 1.0


def _is_quantised(info: TensorInfo) -> bool:
    is_narrow = info.dtype == "int8" or info.dtype.startswith("float8")
    return is_narrow and len(info.shape) > 1 and 0 not in info.shape


def _is_packed(name: str, info: TensorInfo, views: Views, settings: Mapping[str, Any]) -> bool:
    last = name.rpartition(".")[2]
    is_integer = info.dtype.startswith(("int", "uint"))
    if last in _PACKED:
        return is_integer or last not in ("qweight", "weight_packed", "W_q")
    if last.endswith("_blocks"):
        return f"{name.removesuffix('blocks')}scales" in views  # MXFP4
    if len(info.shape) > 1 and is_integer:
        method = settings.get("quant_method")
        return (isinstance(method, str) and method not in _UNPACKED) or (
            name.endswith(".weight") and info.dtype in ("int8", "uint8")
        )
    return False


def _scaled(weight: View, scale: View, unit: float, settings: Mapping[str, Any]) -> Scaled:
    info = weight.info
    sizes = (info.shape[0], torch.Size(info.shape[1:]).numel())
    shape = scale.info.shape
    grid = (shape[0], shape[1]) if len(shape) == 2 else (shape[0] if shape else 1, 1)
    claimed = settings.get("weight_block_size")
    blocks = _BLOCK
    if isinstance(claimed, list) and len(claimed) == 2 and all(type(n) is int and n > 0 for n in claimed):
        blocks = (claimed[0], claimed[1])
    rows, columns = (_block(*sides) for sides in zip(sizes, grid, blocks, strict=True))
    if scale.info.part or (info.part and info.part.axis):
        raise UnsupportedFormat(f"tensor {info.name!r}: the byte budget leaves some of its scales out")
    if rows is None or columns is None or len(shape) > 2 or not scale.info.is_floating:
        raise UnsupportedFormat(f"tensor {info.name!r}: scales of shape {shape} don't fit {info.shape}")
    floating = replace(info, dtype=dtype_name(torch.float32), stored=info.stored or info.dtype)
    return Scaled(floating, weight, scale, grid, (rows, columns), unit)


def _block(size: int, scales: int, usual: int) -> int | None:
    """How many neighbouring values share one of ``scales`` scales along an axis of ``size``."""
    if scales == 1:
        return size
    if scales and -(-size // usual) == scales:
        return usual
    return size // scales if scales and size % scales == 0 else None

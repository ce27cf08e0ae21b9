"""Quantised weights become the floating tensors that they stand for: packed ones, and those with scales beside them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch

from peace_pipeline.weights.checkpoint import Checkpoint
from peace_pipeline.weights.errors import UnsupportedFormat
from peace_pipeline.weights.logical.packing import REFUSED, unpacked
from peace_pipeline.weights.logical.packing.bits import powers
from peace_pipeline.weights.tensors import TensorInfo, dtype_name
from peace_pipeline.weights.views import Computed, Stored, View, Views, finished, positions, precision


class _Spelling(NamedTuple):
    """Name of a tensor of scales → names of the tensor that it scales, of its zero points, and of the weight; scales
    are multiples of ``unit``."""

    scale: re.Pattern[str]
    codes: str
    zero: str
    weight: str
    unit: float = 1.0


_SPELLINGS = (
    # DeepSeek-V3's float8, torchao's, quanto's, compressed-tensors' (int8, too), ComfyUI's, DeepSeek's own
    _Spelling(re.compile(r"(.+)_scale_inv"), r"\1", "", r"\1"),
    _Spelling(re.compile(r"(.+\._weight)_scale"), r"\1_qdata", r"\1_zero_point", r"\1"),
    _Spelling(re.compile(r"(.+)\._scale"), r"\1._data", "", r"\1"),
    _Spelling(re.compile(r"(.+)_scale"), r"\1", r"\1_zero_point", r"\1"),
    _Spelling(re.compile(r"(.+\.)scale_weight"), r"\1weight", "", r"\1weight"),
    _Spelling(re.compile(r"(.+\.)scale"), r"\1weight", "", r"\1weight"),
    _Spelling(re.compile(r"(.+)\.scale"), r"\1", "", r"\1"),
    # bitsandbytes' int8: the rows' largest magnitudes
    _Spelling(re.compile(r"(.+\.)SCB"), r"\1weight", "", r"\1weight", 1 / 127),
)
_SCALE_ENDS = ("_scale_inv", "_scale", "scale_weight", ".scale", ".SCB")
_LEFT_OVER = re.compile(r"(?:(.+\.weight)_scale(?:_inv)?|(.+\.)scale_weight)")
"""Scales of a weight that may be dequantised by now."""
_OF_TORCHAO = re.compile(r"(^|\.)_weight$")
_SETTINGS = ("quantization_config", "compression_config", "quantization")
"""Keys of a config.json under which the quantisation is described."""

_BLOCK = 128
_STEP = 2**22


@dataclass(frozen=True)
class Scaled(Computed):
    """A weight, less its zero points if it has some, times its scales: as a tensor of ``shape`` with one scale for each
    ``block`` along its axes."""

    info: TensorInfo
    weight: View
    scale: View
    zero: View | None
    shape: tuple[int, ...]
    grid: tuple[int, ...]
    block: tuple[int, ...]
    unit: float

    @property
    def parts(self) -> tuple[View, ...]:
        """See :class:`Computed`."""
        return (self.weight, self.scale) if self.zero is None else (self.weight, self.scale, self.zero)

    def read(self, checkpoint: Checkpoint, dtype: torch.dtype | None) -> torch.Tensor:
        """See :class:`View`."""
        work = precision(dtype)
        weight = self.weight.read(checkpoint, work).contiguous()
        if self.scale.info.is_floating:
            scale = self.scale.read(checkpoint, work).reshape(self.grid) * self.unit
        else:
            scale = powers(self.scale.read(checkpoint, None)).to(work).reshape(self.grid)
        zero = None if self.zero is None else self.zero.read(checkpoint, work).reshape(self.grid)
        flat = weight.view(len(weight), *self.shape[1:])
        rows = positions(self.info, 0) // self.block[0]
        step = max(1, _STEP // math.prod(self.shape[1:]))
        for start in range(0, len(flat), step):  # never a tensor of scales as large as the weight
            part, own = flat[start : start + step], rows[start : start + step]
            if zero is not None:
                part -= self._spread(zero[own])
            part *= self._spread(scale[own])
        return finished(self.info, weight, dtype)

    def _spread(self, grid: torch.Tensor) -> torch.Tensor:
        """Rows of the grid with each value as often as its block is wide."""
        for axis in range(1, len(self.shape)):
            grid = grid.index_select(axis, torch.arange(self.shape[axis]) // self.block[axis])
        return grid


def unscaled(views: Views, config: Mapping[str, Any]) -> Views:
    """Views in which no weight is quantised and no scales are left.

    Raises:
        UnsupportedFormat: where weights are quantised in a way that nothing here undoes.
    """
    settings = _settings(config)
    result = unpacked(views, settings)
    for name, view in list(result.items()):
        spelling = _spelling(name, result) if name.endswith(_SCALE_ENDS) else None
        if spelling is not None:
            codes, zero, logical = (
                spelling.scale.sub(form, name) for form in (spelling.codes, spelling.zero, spelling.weight)
            )
            logical = _OF_TORCHAO.sub(r"\1weight", logical)
            if codes != logical and logical in result:
                continue
            weight = result[codes]
            layout = result.pop(f"{codes}_format", None)
            if layout and layout.info.note != (0,):
                raise UnsupportedFormat(
                    f"tensor {layout.info.name!r}: int8 as a GPU lays it out, which is not read"
                )
            zeros = result.pop(zero, None) if zero else None
            if codes != logical:
                result.pop(codes)
            result.pop(name)
            result[logical] = _scaled(logical, weight, view, zeros, spelling.unit, settings)
    result = {name: view for name, view in result.items() if not _is_left_over(name, result)}
    _refuse(result, settings)
    _refuse_unscaled(result)
    return _in_order(result, views)


def _in_order(result: Views, views: Views) -> Views:
    """The views in the order of the first of those that each is had from."""
    places = {id(view): place for place, view in enumerate(views.values())}

    def place(view: View) -> int:
        parts = view.parts if isinstance(view, Computed) else ()
        return min([places.get(id(view), len(places)), *map(place, parts)])

    return dict(sorted(result.items(), key=lambda item: place(item[1])))


def _settings(config: Mapping[str, Any]) -> Mapping[str, Any]:
    found = (config.get(key) for key in _SETTINGS)
    return next((each for each in found if isinstance(each, Mapping)), {})


def _spelling(name: str, views: Views) -> _Spelling | None:
    """How the scales of this name are spelled, where there is what they scale."""
    for spelling in _SPELLINGS:
        match = spelling.scale.fullmatch(name)
        codes = views.get(match.expand(spelling.codes)) if match else None
        if codes is not None and _is_quantised(codes.info):
            return spelling
    return None


def _is_left_over(name: str, views: Views) -> bool:
    """Whether these are scales of a weight that is stored in 16 bits or more."""
    match = _LEFT_OVER.fullmatch(name) if name.endswith(_SCALE_ENDS) else None
    weight = views.get(match[1] or f"{match[2]}weight") if match else None
    return isinstance(weight, Stored) and weight.info.is_floating and not _is_quantised(weight.info)


def _is_quantised(info: TensorInfo) -> bool:
    is_narrow = info.dtype == "int8" or info.dtype.startswith("float8")
    return is_narrow and len(info.shape) > 1 and 0 not in info.shape


def _refuse(views: Views, settings: Mapping[str, Any]) -> None:
    """Raises :class:`UnsupportedFormat` where tensors are those of a scheme that nothing here undoes: integers by such
    a name, or floats beside integers."""
    is_integer = {
        name: not view.info.is_floating and view.info.dtype != "bool" for name, view in views.items()
    }
    packed = {
        name.rpartition(".")[0]
        for name, view in views.items()
        if is_integer[name] and len(view.info.shape) > 1
    }
    for name in views:
        at, _, last = name.rpartition(".")
        scheme = REFUSED.get(last)
        if scheme and (is_integer[name] or (len(last) > 1 and at in packed)):
            said = settings.get("quant_method") or scheme
            raise UnsupportedFormat(
                f"tensor {name!r}: quantised ({str(said)[:40]}) in a way that is not read"
            )


def _refuse_unscaled(views: Views) -> None:
    """Raises :class:`UnsupportedFormat` where a weight of 8 bits has no scales though others have theirs, or scales by
    a name that isn't known; all without are as they are."""
    have_scales = any(isinstance(view, Scaled) for view in views.values())
    scales = {name.rpartition(".")[0] for name in views if "scale" in name.rpartition(".")[2].lower()}
    for name, view in views.items():
        at = name.rpartition(".")[0]
        if isinstance(view, Stored) and _is_quantised(view.info) and (have_scales or at in scales):
            raise UnsupportedFormat(
                f"tensor {name!r}: quantised ({view.info.dtype}) with no scales that are known"
            )


def _scaled(
    name: str, weight: View, scale: View, zero: View | None, unit: float, settings: Mapping[str, Any]
) -> Scaled:
    info = weight.info
    own = scale.info.shape
    shape = info.shape if len(own) > 2 else (info.shape[0], math.prod(info.shape[1:]))
    grid = (*own, *[1] * (len(shape) - len(own)))
    claimed = settings.get("weight_block_size")
    blocks = [_BLOCK] * len(shape)
    if isinstance(claimed, list) and len(claimed) == 2 and all(type(n) is int and n > 0 for n in claimed):
        blocks[-2:] = claimed
    found = [_block(*sides) for sides in zip(shape, grid, blocks, strict=False)]
    block = tuple(size for size in found if size)
    if scale.info.part or (zero and zero.info.part) or (info.part and info.part.axis):
        raise UnsupportedFormat(f"tensor {name!r}: the byte budget leaves some of its scales out")
    is_scale = scale.info.is_floating or (scale.info.dtype == "uint8" and info.is_floating)
    if len(grid) != len(shape) or len(block) != len(shape) or not is_scale:
        raise UnsupportedFormat(f"tensor {name!r}: scales of shape {own} don't fit {info.shape}")
    if zero and math.prod(zero.info.shape) != math.prod(own):
        raise UnsupportedFormat(f"tensor {name!r}: zero points of shape {zero.info.shape} don't fit {own}")
    floating = replace(info, name=name, dtype=dtype_name(torch.float32), stored=info.stored or info.dtype)
    return Scaled(floating, weight, scale, zero, shape, grid, block, unit)


def _block(size: int, scales: int, usual: int) -> int | None:
    """How many neighbouring values share one of ``scales`` scales along an axis of ``size``."""
    if scales == 1:
        return size
    if scales and -(-size // usual) == scales:
        return usual
    return size // scales if scales and size % scales == 0 else None

"""Packed 4-bit codes of floats: bitsandbytes' nf4 and fp4, NVFP4, MXFP4; and 2:4 and other sparse weights."""

from __future__ import annotations

import json
import math
from types import NoneType
from typing import Any

import torch

from peace_pipeline.weights.byte_budget import bytes_of
from peace_pipeline.weights.logical.packing.bits import floats, powers
from peace_pipeline.weights.logical.packing.view import Module, Packed, whole

_STATES = (".quant_state.bitsandbytes__nf4", ".quant_state.bitsandbytes__fp4")


def bitsandbytes(module: Module) -> Packed:
    """Codes of two an octet, the first one high, in words of any type; a table of 16 values; blocks' largest
    magnitudes, which may be quantised themselves (double quantisation)."""
    said = _state(module)
    shape: Any = said.get("shape")
    block, nested = said.get("blocksize"), said.get("nested_blocksize")
    offset = said.get("nested_offset", 0.0)
    is_nested = module.dtype(".absmax") == "uint8"
    stored = module.get("")
    is_sound = isinstance(shape, list) and all(type(number) is int and number > 0 for number in shape)
    if (
        stored is None
        or not is_sound
        or type(block) is not int
        or type(nested) not in (int, NoneType)
        or min(block, nested or 1) < 1
        or not (type(offset) is float and math.isfinite(offset))
        or (is_nested and not nested)
        or (
            is_nested
            and module.shape(".nested_absmax") != (-(-math.prod(module.shape(".absmax")) // (nested or 1)),)
        )
        or (is_nested and module.shape(".nested_quant_map") != (256,))
        or not (is_nested or "float" in module.dtype(".absmax"))
        or (size := math.prod(shape)) > 2 * bytes_of(stored.info)
        or module.shape(".absmax") != (-(-size // block),)
        or module.shape(".quant_map") != (16,)
    ):
        raise module.misfit("bitsandbytes 4-bit")

    def decode(
        codes: torch.Tensor, table: torch.Tensor, peaks: torch.Tensor, *outer: torch.Tensor
    ) -> torch.Tensor:
        if outer:
            own, values = outer
            peaks = _times(values.float()[peaks.int()], own.float(), nested or 1) + offset
        weight = floats(codes.contiguous().flatten().view(torch.uint8), table, is_high_first=True)[:size]
        return _times(weight, peaks.float(), block)

    ends = ("", ".quant_map", ".absmax", *((".nested_absmax", ".nested_quant_map") if is_nested else ()))
    return module.packed(module.at, tuple(shape), str(said.get("quant_type"))[:8], ends, decode)


def _state(module: Module) -> dict[str, Any]:
    """What bitsandbytes says of a weight, which is written as the octets of a JSON text."""
    octets = next((note for end in _STATES if (note := module.note(end))), ())
    try:
        said = json.loads(bytes(octets))
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _times(values: torch.Tensor, scales: torch.Tensor, block: int) -> torch.Tensor:
    """Flat values times the scale of each block of them, of which the last may be shorter."""
    return values.mul_(scales.repeat_interleave(min(block, len(values)))[: len(values)])


def compressed(module: Module) -> Packed | None:
    """compressed-tensors' NVFP4 and MXFP4: (out, in / 2) octets; ``None`` for packed integers."""
    if module.dtype("weight_packed") != "uint8":
        return None
    return _in_groups(module, "weight_packed", "weight_global_scale", is_divided=True)


def modelopt(module: Module) -> Packed | None:
    """ModelOpt's NVFP4, whose second scale multiplies; ``None`` for other weights."""
    if module.dtype("weight") != "uint8":
        return None
    return _in_groups(module, "weight", "weight_scale_2", is_divided=False)


def _in_groups(module: Module, codes: str, second: str, *, is_divided: bool) -> Packed:
    shape, scales, kind = module.shape(codes), module.shape("weight_scale"), module.dtype("weight_scale")
    group = whole(2 * shape[-1], scales[-1]) if len(shape) > 1 and scales else 0
    is_nv = group == 16 and kind == "float8_e4m3fn" and math.prod(module.shape(second)) == 1
    is_mx = group == 32 and kind in ("uint8", "float8_e8m0fnu") and not module.get(second)
    if scales[:-1] != shape[:-1] or not ((is_nv and module.get(second)) or is_mx):
        raise module.misfit("4-bit floats")

    def decode(codes: torch.Tensor, scale: torch.Tensor, *whole: torch.Tensor) -> torch.Tensor:
        own = scale.float() if kind != "uint8" else powers(scale)
        if whole:
            own = own / whole[0].float() if is_divided else own * whole[0].float()
        return floats(codes).unflatten(-1, (-1, group)).mul_(own.unsqueeze(-1))

    ends = (codes, "weight_scale", *((second,) if is_nv else ()))
    name = "nvfp4" if is_nv else "mxfp4"
    return module.packed(f"{module.at}weight", (*shape[:-1], 2 * shape[-1]), name, ends, decode)


def mxfp4(module: Module) -> Packed | None:
    """gpt-oss' MXFP4: experts' octets (experts, out, groups, 16) and exponents (experts, out, groups), for a weight
    (experts, in, out); ``None`` for other tensors."""
    shape, exponents = module.shape("_blocks"), module.shape("_scales")
    if not exponents:
        return None
    is_octets = module.dtype("_blocks") == "uint8" == module.dtype("_scales")
    if len(shape) not in (3, 4) or shape[:-1] != exponents or not is_octets:
        raise module.misfit("MXFP4")
    *before, outputs, groups, octets = shape
    inputs = 2 * groups * octets

    def decode(codes: torch.Tensor, exponents: torch.Tensor) -> torch.Tensor:
        weight = floats(codes).mul_(powers(exponents).unsqueeze(-1)).flatten(-2)
        return weight.transpose(-1, -2) if before else weight

    logical = (*before, inputs, outputs) if before else (outputs, inputs)
    return module.packed(module.at, logical, "mxfp4", ("_blocks", "_scales"), decode)


def sparse(module: Module) -> Packed:
    """compressed-tensors' ``sparse-bitmask``: the values that aren't zero, and a bit for each place of a matrix."""
    shape, mask = module.note("shape"), module.shape("bitmask")
    if (
        len(shape) != 2
        or min(shape) < 1
        or mask != (shape[0], -(-shape[1] // 8))
        or module.dtype("bitmask") != "uint8"
    ):
        raise module.misfit("sparse-bitmask")
    if not module.dtype("compressed").startswith(("float", "bfloat")):
        raise module.misfit("sparse-bitmask")

    def decode(values: torch.Tensor, bitmask: torch.Tensor) -> torch.Tensor:
        bits = ((bitmask.unsqueeze(-1) >> torch.arange(8, dtype=torch.uint8)) & 1).bool().flatten(1)
        weight = torch.zeros(shape)
        weight[bits[:, : shape[1]]] = values.float().flatten()
        return weight

    name = module.at.removesuffix(".")
    return module.packed(name, (shape[0], shape[1]), "sparse-bitmask", ("compressed", "bitmask"), decode)

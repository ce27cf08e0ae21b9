"""Packed integers with scales and zero points: GPTQ, AWQ, compressed-tensors, MLX, HQQ."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from peace_pipeline.weights.logical.packing.bits import floats, integers, integers_of_awq, powers
from peace_pipeline.weights.logical.packing.view import Module, Packed, whole

_WORD = 32
_READ = (2, 3, 4, 5, 6, 8)
"""Bits of an integer."""
_GROUPS_OF_FLOATS = {32: powers, 16: lambda scales: scales.view(torch.float8_e4m3fn).float()}
"""Values of MLX's 4-bit floats that share a scale → what the octets of the scales stand for."""


def gptq_or_awq(module: Module) -> Packed:
    """GPTQ packs along the inputs: (in · bits / 32, out) words; AWQ along the outputs: (in, out · bits / 32)."""
    (rows, columns), scales, zeros = (_matrix(module.shape(end)) for end in ("qweight", "scales", "qzeros"))
    groups, outputs = scales
    if columns == outputs:
        return _gptq(module, rows, groups, outputs, zeros)
    inputs, packed = rows, columns
    fits = packed * 8 == outputs and zeros == (groups, packed) and whole(inputs, groups)
    if not fits or module.dtype("qweight") != "int32" or module.dtype("qzeros") != "int32":
        raise module.misfit("AWQ")

    def decode(qweight: torch.Tensor, scales: torch.Tensor, qzeros: torch.Tensor) -> torch.Tensor:
        codes, zeros = integers_of_awq(qweight).float(), integers_of_awq(qzeros).float()
        grouped = codes.unflatten(0, (groups, -1))
        return ((grouped - zeros[:, None]) * scales.float()[:, None]).flatten(0, 1).T

    return module.packed(
        f"{module.at}weight", (outputs, inputs), "awq", ("qweight", "scales", "qzeros"), decode
    )


def _gptq(module: Module, rows: int, groups: int, outputs: int, zeros: tuple[int, int]) -> Packed:
    said = module.settings.get("bits")
    bits = zeros[1] * _WORD // outputs if outputs and zeros[0] else said
    if type(bits) is not int or bits not in (2, 3, 4, 8) or not groups or module.dtype("qweight") != "int32":
        raise module.misfit("GPTQ")
    inputs = rows * _WORD // bits
    has_order = bool(module.shape("g_idx"))
    size = _group(module, inputs, groups)
    fits = (
        rows * _WORD == inputs * bits
        and (size or has_order)
        and zeros in ((0, 0), (groups, outputs * bits // _WORD))
    )
    if not fits or module.shape("g_idx") not in ((), (inputs,)):
        raise module.misfit("GPTQ")
    less_one = 0 if module.settings.get("checkpoint_format") == "gptq_v2" else 1
    """The first version stores zero points less one."""

    def decode(qweight: torch.Tensor, scales: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        codes = integers(qweight.T, bits).float()
        group = others[-1].long() if has_order else torch.arange(inputs) // size
        if zeros[0]:
            zero = ((integers(others[0], bits).int() + less_one) & (2**bits - 1)).float()
        else:
            zero = torch.full((groups, outputs), 2.0 ** (bits - 1))
        return codes.sub_(zero.T[:, group]).mul_(scales.float().T[:, group])

    ends = ("qweight", "scales", "qzeros", "g_idx")
    return module.packed(f"{module.at}weight", (outputs, inputs), "gptq", ends, decode)


def compressed(module: Module) -> Packed:
    """compressed-tensors' ``pack-quantized``: (out, words), values and zero points plus half their range."""
    (outputs, words), (_, groups) = (
        _matrix(module.shape("weight_packed")),
        _matrix(module.shape("weight_scale")),
    )
    shape = module.note("weight_shape")
    inputs = shape[1] if len(shape) == 2 else 0
    fitting = [bits for bits in (2, 4, 8) if inputs > 0 and -(-inputs * bits // _WORD) == words]
    said, size = module.said("num_bits"), _group(module, inputs, groups)
    bits = said if type(said) is int and said in fitting else fitting[0] if len(fitting) == 1 else 0
    zero, order = module.shape("weight_zero_point"), module.shape("weight_g_idx")
    is_packed = zero == (-(-outputs * bits // _WORD), groups) and module.dtype("weight_zero_point") == "int32"
    fits = shape[:1] == (outputs,) and groups > 0 and (is_packed or zero in ((), (outputs, groups)))
    if (
        not bits
        or not fits
        or not (size or order)
        or order not in ((), (inputs,))
        or module.dtype("weight_packed") != "int32"
    ):
        raise module.misfit("compressed-tensors")
    half = 2 ** (bits - 1)

    def decode(packed: torch.Tensor, scale: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        codes = integers(packed, bits)[:, :inputs].float() - half
        group = others[-1].long() if order else torch.arange(inputs) // size
        if zero:
            own = integers(others[0].T, bits).T[:outputs].float() - half if is_packed else others[0].float()
            codes -= own[:, group]
        return codes.mul_(scale.float()[:, group])

    ends = ("weight_packed", "weight_scale", "weight_zero_point", "weight_g_idx")
    return module.packed(f"{module.at}weight", (outputs, inputs), "pack-quantized", ends, decode)


def mlx(module: Module) -> Packed | None:
    """MLX: (…, out, words), scales and biases (…, out, groups); ``None`` for what isn't packed."""
    words, scales = module.shape("weight"), module.shape("scales")
    if module.dtype("weight") != "uint32" or len(words) < 2:
        return None
    bits, group = _bits_of_mlx(module)
    inputs = words[-1] * _WORD // bits if bits else 0
    if not bits or inputs * bits != words[-1] * _WORD or (*words[:-1], whole(inputs, group)) != scales:
        raise module.misfit("MLX, by a config.json that says no bits and group_size that fit")
    shape = (*words[:-1], inputs)
    if module.dtype("scales") == "uint8":
        exponents = _GROUPS_OF_FLOATS.get(group)
        if exponents is None:
            raise module.misfit("MLX")

        def decode_floats(weight: torch.Tensor, scales: torch.Tensor) -> torch.Tensor:
            values = floats(weight.contiguous().view(torch.uint8)).unflatten(-1, (-1, group))
            return values * exponents(scales).unsqueeze(-1)

        return module.packed(f"{module.at}weight", shape, "mlx", ("weight", "scales"), decode_floats)
    if module.shape("biases") != scales:
        raise module.misfit("MLX")

    def decode(weight: torch.Tensor, scales: torch.Tensor, biases: torch.Tensor) -> torch.Tensor:
        values = integers(weight, bits).float().unflatten(-1, (-1, group))
        return values.mul_(scales.float().unsqueeze(-1)).add_(biases.float().unsqueeze(-1))

    return module.packed(f"{module.at}weight", shape, "mlx", ("weight", "scales", "biases"), decode)


def _bits_of_mlx(module: Module) -> tuple[int, int]:
    """Bits and values a group: as the config says of this module or of all, where the shapes allow that."""
    words, groups = module.shape("weight")[-1], (module.shape("scales") or (0,))[-1]
    if module.dtype("scales") == "uint8":
        return 4, whole(words * _WORD // 4, groups)
    said = [module.settings.get(module.at.rstrip(".")), module.settings]
    for each in said:
        if not isinstance(each, Mapping):
            continue
        bits, group = each.get("bits"), each.get("group_size")
        if (
            type(bits) is int
            and type(group) is int
            and bits in _READ
            and groups * group * bits == words * _WORD
        ):
            return bits, group
    return 0, 0


def hqq(module: Module) -> Packed:
    """HQQ: groups along an axis; of two halves (4 bits) or four quarters (2 bits) the first has the highest bits."""
    shape, bits, axis, size = (module.note(end) for end in ("shape", "nbits", "axis", "group_size"))
    numbers = bits + axis + size
    if (
        len(shape) != 2
        or min(shape) < 1
        or len(numbers) != 3
        or numbers[0] not in (2, 4, 8)
        or numbers[1] not in (0, 1)
    ):
        raise module.misfit("HQQ")
    (width, along, group), packed = numbers, _matrix(module.shape("W_q"))
    groups = whole(shape[0] * shape[1], group)
    flat = (group, groups) if along == 0 else (groups, group)
    own = (1, groups) if along == 0 else (groups, 1)
    fits = packed == (flat[0] * width // 8, flat[1]) and module.shape("scale") == own == module.shape("zero")
    if not groups or not fits or module.dtype("W_q") != "uint8" or "float" not in module.dtype("zero"):
        raise module.misfit("HQQ")

    def decode(codes: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor) -> torch.Tensor:
        shifts = torch.arange(8 - width, -1, -width, dtype=torch.uint8)
        values = ((codes >> shifts[:, None, None]) & (2**width - 1)).flatten(0, 1).float()
        return (values - zero.float()) * scale.float()

    return module.packed(f"{module.at}weight", (shape[0], shape[1]), "hqq", ("W_q", "scale", "zero"), decode)


def _group(module: Module, inputs: int, groups: int) -> int:
    """How many inputs share a scale: as the config says, or else all groups have as many; 0 where neither fits."""
    said = module.said("group_size")
    if type(said) is int and said > 0 and -(-inputs // said) == groups:
        return said
    return whole(inputs, groups)


def _matrix(shape: tuple[int, ...]) -> tuple[int, int]:
    return (shape[0], shape[1]) if len(shape) == 2 else (0, 0)

"""Weights packed as each scheme documents it, value by value: the reference that what is read is held against."""

from __future__ import annotations

import json

import torch

State = dict[str, torch.Tensor]

NF4 = (
    -1.0, -0.6961928, -0.52507305, -0.39491749, -0.28444138, -0.18477343, -0.09105004, 0.0,
    0.0795803, 0.1609302, 0.24611230, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1.0,
)  # fmt: skip


def codes_of(weight: torch.Tensor, bits: int, group: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Codes (out, in), scales (out, groups) and zero points (out, groups) of a weight, rounded to its own groups."""
    groups = weight.view(len(weight), -1, group)
    low, high = groups.amin(-1).clamp(max=0), groups.amax(-1).clamp(min=0)
    scale = ((high - low) / (2**bits - 1)).half().float()
    zero = (-low / scale).round()
    codes = (groups / scale.unsqueeze(-1) + zero.unsqueeze(-1)).round().clamp(0, 2**bits - 1)
    return codes.flatten(1).long(), scale, zero.long()


def value(codes: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor, group: int) -> torch.Tensor:
    """What they stand for, value by value."""
    weight = torch.empty(codes.shape, dtype=torch.float64)
    for row in range(codes.shape[0]):
        for column in range(codes.shape[1]):
            own = row, column // group
            weight[row, column] = (float(codes[row, column]) - float(zero[own])) * float(scale[own])
    return weight


def stream(values: torch.Tensor, bits: int) -> torch.Tensor:
    """Integers one after the other in a row's words of 32 bits, the lowest bits first."""
    rows = []
    for row in values.tolist():
        number = sum(value << (bits * place) for place, value in enumerate(row))
        words = -(-len(row) * bits // 32)
        rows.append([(number >> (32 * place)) & 0xFFFFFFFF for place in range(words)])
    return torch.tensor(rows, dtype=torch.int64).to(torch.int32)


def gptq(
    weight: torch.Tensor, bits: int, group: int, *, version: int = 1, order: torch.Tensor | None = None
) -> State:
    """AutoGPTQ's tensors of a weight (out, in); with an ``order`` its columns are grouped in that order."""
    codes, scale, zero = codes_of(weight if order is None else weight[:, order], bits, group)
    index = torch.arange(weight.shape[1]) // group
    if order is not None:
        codes, index = codes[:, order.argsort()], index[order.argsort()]
    stored = (zero - (1 if version == 1 else 0)) % 2**bits
    return {
        "qweight": stream(codes, bits).T.contiguous(),
        "qzeros": stream(stored.T, bits),
        "scales": scale.T.half().contiguous(),
        "g_idx": index.int(),
    }


def awq(weight: torch.Tensor, group: int) -> State:
    """AutoAWQ's tensors (GEMM) of a weight (out, in), of 4 bits."""
    codes, scale, zero = codes_of(weight, 4, group)

    def packed(values: torch.Tensor) -> torch.Tensor:
        words = torch.zeros(len(values), values.shape[1] // 8, dtype=torch.int64)
        for place, source in enumerate([0, 2, 4, 6, 1, 3, 5, 7]):
            words |= values[:, source::8] << (4 * place)
        return words.to(torch.int32)

    return {"qweight": packed(codes.T), "qzeros": packed(zero.T), "scales": scale.T.half().contiguous()}


def mlx(weight: torch.Tensor, bits: int, group: int) -> State:
    """MLX's tensors of a weight (out, in)."""
    codes, scale, zero = codes_of(weight, bits, group)
    return {
        "weight": stream(codes, bits).view(torch.uint32),
        "scales": scale.half(),
        "biases": (-zero * scale).float(),
    }


def compressed(
    weight: torch.Tensor, bits: int, group: int, *, is_symmetric: bool
) -> tuple[State, torch.Tensor]:
    """compressed-tensors' ``pack-quantized`` of a weight, and what it stands for."""
    codes, scale, zero = codes_of(weight, bits, group)
    per = 32 // bits
    padded = torch.nn.functional.pad(codes, (0, -codes.shape[1] % per))
    state = {
        "weight_packed": stream(padded, bits),
        "weight_scale": scale,
        "weight_shape": torch.tensor(weight.shape),
    }
    if is_symmetric:
        return state, value(codes, scale, torch.full_like(zero, 2 ** (bits - 1)), group)
    rows = torch.nn.functional.pad(zero, (0, 0, 0, -len(zero) % per))
    state["weight_zero_point"] = stream(rows.T, bits).T.contiguous()
    return state, value(codes, scale, zero, group)


def bitsandbytes(
    weight: torch.Tensor, kind: str, table: tuple[float, ...], block: int, nested: int = 0
) -> tuple[State, torch.Tensor]:
    """bitsandbytes' 4-bit tensors of a weight, and what they stand for; ``nested``: blocks of quantised scales."""
    flat = weight.flatten()
    peaks = torch.stack([part.abs().max() for part in flat.split(block)])
    said = {"quant_type": kind, "blocksize": block, "dtype": "float16", "shape": list(weight.shape)}
    state: State = {"weight.quant_map": torch.tensor(table)}
    if nested:
        offset = float(peaks.mean())
        steps = torch.linspace(-1, 1, 256)
        outer = torch.stack([part.abs().max() for part in (peaks - offset).split(nested)])
        own = torch.arange(len(peaks)) // nested
        octets = ((peaks - offset) / outer[own] - steps[:, None]).abs().argmin(0)
        state |= {
            "weight.absmax": octets.to(torch.uint8),
            "weight.nested_absmax": outer,
            "weight.nested_quant_map": steps,
        }
        peaks = steps[octets] * outer[own] + offset
        said |= {"nested_blocksize": nested, "nested_dtype": "float32", "nested_offset": offset}
    else:
        state["weight.absmax"] = peaks
    values = torch.tensor(table)
    codes = [int((values - float(v / peaks[at // block])).abs().argmin()) for at, v in enumerate(flat)]
    expected = torch.tensor(
        [float(values[code]) * float(peaks[at // block]) for at, code in enumerate(codes)]
    )
    codes += [0] * (len(codes) % 2)
    state["weight"] = torch.tensor(
        [[codes[at] << 4 | codes[at + 1]] for at in range(0, len(codes), 2)], dtype=torch.uint8
    )
    state[f"weight.quant_state.bitsandbytes__{kind}"] = torch.tensor(
        list(json.dumps(said).encode()), dtype=torch.uint8
    )
    return state, expected.double().view(weight.shape)


HALVES = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)


def four_bits(weight: torch.Tensor, scale: torch.Tensor, group: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Octets of two E2M1 codes each, the first one low, and what they stand for with a scale a group."""
    values = torch.tensor([*HALVES, *(-value for value in HALVES)])
    spread = scale.repeat_interleave(group, -1)
    codes = (weight.unsqueeze(-1) / spread.unsqueeze(-1) - values).abs().argmin(-1)
    octets = (codes[..., 1::2] << 4 | codes[..., ::2]).to(torch.uint8)
    return octets, values[codes].double() * spread.double()

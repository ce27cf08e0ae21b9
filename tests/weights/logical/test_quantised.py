"""Quantised weights come to what their scales make of them, or are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from peace_pipeline.weights.checkpoint import open_checkpoint
from peace_pipeline.weights.errors import NotFinite, UnsupportedFormat
from peace_pipeline.weights.layers import layers_of
from peace_pipeline.weights.logical import logical
from tests.networks import infos_of
from tests.weights.logical.states import FLOAT8, State, random_input, read_all, written


def quantised(state: State, config: dict[str, Any], folder: Path) -> torch.Tensor:
    tensors = read_all(folder, state, config)
    assert tensors.keys() == {"a.weight", "a.bias"}
    return tensors["a.weight"]


BIAS = torch.ones(300)


def test_float8_with_a_scale_a_block(tmp_path: Path) -> None:
    scale = torch.rand(3, 2) + 0.5
    state = {"a.weight": FLOAT8, "a.weight_scale_inv": scale, "a.bias": BIAS}
    expected = FLOAT8.double()
    for row in range(3):
        for column in range(2):
            expected[row * 128 : (row + 1) * 128, column * 128 : (column + 1) * 128] *= scale[
                row, column
            ].double()
    torch.testing.assert_close(quantised(state, {}, tmp_path), expected)
    other = {"quantization_config": {"weight_block_size": [64, 64]}}
    state["a.weight_scale_inv"] = scale = torch.rand(5, 4)
    expected = FLOAT8.double() * scale.double().repeat_interleave(64, 0).repeat_interleave(64, 1)[:300, :200]
    torch.testing.assert_close(quantised(state, other, tmp_path), expected)


@pytest.mark.parametrize("shape", [(), (1,), (300,), (300, 1), (300, 4)])
@pytest.mark.parametrize("kind", [torch.float8_e4m3fn, torch.float8_e5m2, torch.int8])
def test_scales_of_tensors_rows_and_groups(kind: torch.dtype, shape: tuple[int, ...], tmp_path: Path) -> None:
    weight, scale = FLOAT8.float().clamp(-120, 120).to(kind), torch.rand(shape) + 0.5
    state = {"a.weight": weight, "a.weight_scale": scale, "a.bias": BIAS}
    grid = scale.double().reshape(len(scale) if shape else 1, -1)
    expected = weight.double() * grid.repeat_interleave(200 // grid.shape[1], 1)
    torch.testing.assert_close(quantised(state, {}, tmp_path), expected)


SPELLED = {
    "DeepSeek's": ("a.weight", "a.scale", torch.rand(3, 2) + 0.5),
    "DeepSeek's powers of two": ("a.weight", "a.scale", (torch.rand(3, 2) + 0.5).to(torch.float8_e8m0fnu)),
    "exponents as octets": ("a.weight", "a.weight_scale", torch.randint(120, 130, (300, 5)).byte()),
    "of the weight": ("a.weight", "a.weight.scale", torch.rand(300, 1) + 0.5),
    "ComfyUI's": ("a.weight", "a.scale_weight", torch.tensor(0.25)),
    "quanto's": ("a.weight._data", "a.weight._scale", torch.rand(300, 1) + 0.5),
    "torchao's": ("a._weight_qdata", "a._weight_scale", torch.rand(300, 1) + 0.5),
}


@pytest.mark.parametrize("case", SPELLED)
def test_spellings_of_scales(case: str, tmp_path: Path) -> None:
    weight, name, scale = SPELLED[case]
    beside = {"a.scale_input": torch.ones(2), "scaled_fp8": torch.zeros(2).to(torch.float8_e4m3fn)}
    found = quantised({weight: FLOAT8, name: scale, "a.bias": BIAS, **beside}, {}, tmp_path)
    numbers = torch.exp2(scale.double() - 127) if scale.dtype == torch.uint8 else scale.double()
    rows, columns = (-(-300 // len(scale)), -(-200 // scale.shape[1])) if scale.dim() == 2 else (300, 200)
    rows, columns = (128 if size in (100,) else size for size in (rows, columns))
    grid = numbers.reshape(numbers.shape or (1, 1)).repeat_interleave(rows, 0).repeat_interleave(columns, 1)
    torch.testing.assert_close(found, FLOAT8.double() * grid[:300, :200])


def test_the_order_of_layers_stays(tmp_path: Path) -> None:
    scale = torch.rand(300, 1) + 0.5
    state = {
        "b._weight_qdata": FLOAT8,
        "b._weight_scale": scale,
        "b.bias": BIAS,
        "a.weight": torch.ones(9, 300),
    }
    torch.save(state, tmp_path / "m.pt")  # in this order
    with open_checkpoint([tmp_path / "m.pt"]) as checkpoint:
        assert list(logical(checkpoint, {}).tensors) == ["b.weight", "b.bias", "a.weight"]


UNSCALED: dict[str, State] = {
    "scales of an unknown name": {"a.weight": FLOAT8, "a.weight_scale_0": torch.tensor(0.5)},
    "scales of others alone": {"a.weight": FLOAT8, "b.weight": FLOAT8, "b.weight_scale": torch.tensor(0.5)},
    "a layout of GPUs": {
        "a.weight": FLOAT8.float().clamp(-9, 9).to(torch.int8),
        "a.SCB": torch.rand(300),
        "a.weight_format": torch.tensor(3, dtype=torch.uint8),
    },
}


@pytest.mark.parametrize("case", UNSCALED)
def test_weights_whose_scales_are_not_known_are_refused(case: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedFormat, match=r"'a\.weight"):
        read_all(tmp_path, UNSCALED[case])


def test_scales_that_were_left_over_scale_nothing(tmp_path: Path) -> None:
    state = {"a.weight": FLOAT8.bfloat16(), "a.bias": BIAS}
    for name in ("a.weight_scale", "a.scale_weight"):
        found = quantised(state | {name: torch.rand(300, 1)}, {}, tmp_path)
        torch.testing.assert_close(found, FLOAT8.double())


def test_zero_points_beside_scales(tmp_path: Path) -> None:
    codes = torch.randint(-128, 128, (300, 200), generator=torch.Generator().manual_seed(9)).to(torch.int8)
    scale, zero = torch.rand(300, 4) + 0.5, torch.randint(-9, 9, (300, 4)).to(torch.int8)
    state = {"a.weight": codes, "a.weight_scale": scale, "a.weight_zero_point": zero, "a.bias": BIAS}
    spread = zero.double().repeat_interleave(50, 1), scale.double().repeat_interleave(50, 1)
    torch.testing.assert_close(quantised(state, {}, tmp_path), (codes.double() - spread[0]) * spread[1])


def test_scales_of_stacked_experts(tmp_path: Path) -> None:
    weight = FLOAT8.view(2, 150, 200)
    for shape in ((2, 1, 200), (2, 150, 1), (2, 2, 2)):
        scale = torch.rand(shape) + 0.5
        state = {"e.stacked": weight, "e.stacked_scale": scale, "norm.weight": BIAS}
        rows, columns = (-(-size // own) for size, own in zip((150, 200), shape[1:], strict=True))
        rows, columns = (128 if shape == (2, 2, 2) else size for size in (rows, columns))
        grid = scale.double().repeat_interleave(rows, 1).repeat_interleave(columns, 2)[:, :150, :200]
        torch.testing.assert_close(read_all(tmp_path, state)["e.stacked"], weight.double() * grid)


def test_int8_of_bitsandbytes(tmp_path: Path) -> None:
    weight = random_input(300, 200).float()
    peak = weight.abs().amax(1)
    rounded = (weight * (127 / peak[:, None])).round().to(torch.int8)
    state = {
        "a.weight": rounded,
        "a.SCB": peak,
        "a.weight_format": torch.tensor(0, dtype=torch.uint8),
        "a.bias": BIAS,
    }
    tensors = read_all(tmp_path, state)
    assert float((tensors["a.weight"] - weight).abs().max()) < float(peak.max()) / 127
    assert [layer.name for layer in layers_of(infos_of(tensors))] == ["a"]


def test_a_quantised_fused_projection(tmp_path: Path) -> None:
    weight, scale = FLOAT8[:24, :8], torch.rand(24, 1)
    tensors = read_all(tmp_path, {"attn.qkv.weight": weight, "attn.qkv.weight_scale": scale})
    found = torch.cat([tensors[f"attn.{part}.weight"] for part in "qkv"])
    torch.testing.assert_close(found, weight.double() * scale.double())


INTEGERS = torch.ones(8, 4, dtype=torch.int32)

BYTES = torch.ones(8, 4, dtype=torch.uint8)

PACKED: dict[str, tuple[dict[str, torch.Tensor], dict[str, Any], str]] = {
    "by the config": (
        {"a.codes": INTEGERS, "a.codebooks": torch.ones(8, 4)},
        {"quantization_config": {"quant_method": "aqlm"}}, "aqlm",
    ),
    "no scales": ({"a.weight": BYTES.to(torch.int8)}, {}, "not read: .a.weight"),
    "a type of its own": ({"a.weight": BYTES, "a.weight_scale": torch.ones(1)}, {}, "not read: .a.weight"),
    "scales that don't fit": ({"a.weight": FLOAT8, "a.weight_scale": torch.ones(7, 3)}, {}, "don't fit"),
    "scales of three axes": ({"a.weight": FLOAT8, "a.weight_scale": torch.ones(1, 1, 1)}, {}, "don't fit"),
}  # fmt: skip


@pytest.mark.parametrize("case", PACKED)
def test_weights_that_are_not_unpacked_are_refused(case: str, tmp_path: Path) -> None:
    state, config, reason = PACKED[case]
    with pytest.raises(UnsupportedFormat, match=reason):
        read_all(tmp_path, {**state, "norm.weight": torch.ones(4)}, config)


def test_what_only_looks_packed(tmp_path: Path) -> None:
    state = {
        "attn.W_q": torch.ones(4, 4),
        "q_scale": torch.ones(4),
        "codebooks": torch.ones(4, 4),
    }
    assert read_all(tmp_path, state).keys() == state.keys()


def test_what_comes_to_values_that_are_not_finite(tmp_path: Path) -> None:
    scaled = {"a.weight": FLOAT8, "a.weight_scale": torch.tensor(3e38)}
    zero = {"a.weight_g": torch.ones(2, 1), "a.weight_v": torch.zeros(2, 3)}
    for state in (scaled, zero):
        with open_checkpoint([written(tmp_path / "m.safetensors", state)]) as checkpoint:
            network = logical(checkpoint, {})
            with pytest.raises(NotFinite, match=r"'a\.weight"):
                network.read("a.weight")

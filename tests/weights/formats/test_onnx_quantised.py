"""Weights of quantised operators come to what a session of ONNX Runtime, or a reference, makes of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import helper

from peace_pipeline.weights.errors import UnsupportedFormat
from peace_pipeline.weights.formats.onnx import open_file
from tests.weights.formats.onnx_models import initialiser, model, save

GENERATOR = np.random.default_rng(0)
CODES = GENERATOR.integers(-127, 128, (6, 4)).astype(np.int8)
KERNEL = GENERATOR.integers(0, 256, (5, 3, 2, 2)).astype(np.uint8)
BIAS = GENERATOR.integers(-1000, 1000, 5).astype(np.int32)


def read(path: Path, nodes: list, **constants: object) -> dict[str, torch.Tensor]:
    """The floating tensors of a graph with these constants."""
    tensors = [initialiser(name, np.asarray(values)) for name, values in constants.items()]
    with open_file(save(path / "m.onnx", model(nodes, tensors, inputs=["x"]))) as file:
        return {
            info.name: file.read(info.name) for info in file.inventory() if info.is_floating and info.shape
        }


def close(found: dict[str, torch.Tensor], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-6, atol=1e-7)


def test_linear_convolution(tmp_path: Path) -> None:
    scale, zero = np.float32([0.1, 0.2, 0.3, 0.4, 0.5]), np.uint8([128, 120, 0, 255, 7])
    inputs = ["x", "xs", "xz", "conv.weight", "ws", "wz", "ys", "yz", "conv.bias"]
    found = read(
        tmp_path, [helper.make_node("QLinearConv", inputs, ["y"])],
        xs=np.float32(0.5), xz=np.uint8(3), ws=scale, wz=zero, ys=np.float32(1), yz=np.uint8(0),
        **{"conv.weight": KERNEL, "conv.bias": BIAS},
    )  # fmt: skip
    weight = (KERNEL.astype(float) - zero[:, None, None, None]) * scale[:, None, None, None]
    close(found, {"conv.weight": weight, "conv.bias": BIAS * 0.5 * scale})


def test_linear_products(tmp_path: Path) -> None:
    scale, zero = np.float32([0.1, 0.2, 0.3, 0.4]), np.int8([0, 1, 2, 3])
    parts = {
        "xs": np.float32(0.5), "xz": np.int8(0), "fc.weight": CODES, "ws": scale, "wz": zero, "ys": np.float32(1),
        "yz": np.int8(0),
    }  # fmt: skip
    expected = ((CODES.astype(float) - zero) * scale).T
    names = ["x", "xs", "xz", "fc.weight", "ws", "wz"]
    nodes = [helper.make_node("QLinearMatMul", [*names, "ys", "yz"], ["y"])]
    close(read(tmp_path, nodes, **parts), {"fc.weight": expected})
    nodes = [helper.make_node("QGemm", [*names, "fc.bias", "ys", "yz"], ["y"], domain="com.microsoft")]
    found = read(tmp_path, nodes, **parts, **{"fc.bias": BIAS[:4]})
    close(found, {"fc.weight": expected, "fc.bias": BIAS[:4] * 0.5 * scale})


@pytest.mark.parametrize("is_convolution", [False, True])
def test_integer_products_with_the_scale_after_them(is_convolution: bool, tmp_path: Path) -> None:
    codes = KERNEL if is_convolution else CODES
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        helper.make_node(
            "ConvInteger" if is_convolution else "MatMulInteger", ["q", "fc.weight", "z", "wz"], ["i"]
        ),
        helper.make_node("Mul", ["s", "ws"], ["both"]),
        helper.make_node("Cast", ["i"], ["c"], to=1),
        helper.make_node("Mul", ["c", "both"], ["m"]),
        helper.make_node("Add", ["m", "fc.bias"], ["y"]),
    ]
    bias = np.ones(5 if is_convolution else 4, np.float32)
    found = read(
        tmp_path, nodes, ws=np.float32(0.25), wz=codes.dtype.type(7), **{"fc.weight": codes, "fc.bias": bias}
    )  # fmt: skip
    weight = (codes.astype(float) - 7) * 0.25
    close(found, {"fc.weight": weight if is_convolution else weight.T, "fc.bias": bias})


def test_products_of_onnx_runtime(tmp_path: Path) -> None:
    scale, bias = np.float32([0.1, 0.2, 0.3, 0.4]), np.ones(4, np.float32)
    expected = {"fc.weight": (CODES * scale).T, "fc.bias": bias}
    constants = {"fc.weight": CODES, "ws": scale, "fc.bias": bias}
    dynamic = ["x", "fc.weight", "ws", "", "fc.bias"]
    nodes = [helper.make_node("DynamicQuantizeMatMul", dynamic, ["y"], domain="com.microsoft")]
    close(read(tmp_path, nodes, **constants), expected)
    to_float = ["q", "fc.weight", "s", "ws", "z", "", "fc.bias"]
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        helper.make_node("MatMulIntegerToFloat", to_float, ["y"], domain="com.microsoft"),
    ]
    close(read(tmp_path, nodes, **constants), expected)


@pytest.mark.parametrize("zeros", ["none", "packed", "floats"])
@pytest.mark.parametrize("bits", [4, 8])
def test_blocks(bits: int, zeros: str, tmp_path: Path) -> None:
    outputs, inputs, size = 6, 40, 16  # the last of three blocks is half empty
    codes = GENERATOR.integers(0, 2**bits, (outputs, 3, size))
    zero = GENERATOR.integers(0, 2**bits, (outputs, 3))
    scale = GENERATOR.random((outputs, 3)).astype(np.float32)

    def packed(values: np.ndarray) -> np.ndarray:
        if bits == 8:
            return values.astype(np.uint8)
        padded = np.concatenate([values, np.zeros((*values.shape[:-1], values.shape[-1] % 2), int)], -1)
        return (padded[..., ::2] | padded[..., 1::2] << 4).astype(np.uint8)

    own = {"none": {}, "packed": {"z": packed(zero)}, "floats": {"z": zero.astype(np.float32)}}[zeros]
    node = helper.make_node(
        "MatMulNBits", ["x", "fc.weight", "s", *own], ["y"],
        domain="com.microsoft", K=inputs, N=outputs, bits=bits, block_size=size,
    )  # fmt: skip
    found = read(tmp_path, [node], s=scale, **own, **{"fc.weight": packed(codes)})
    middle = zero[:, :, None] if own else 2 ** (bits - 1)
    expected = ((codes - middle) * scale[:, :, None]).reshape(outputs, -1)[:, :inputs]
    close(found, {"fc.weight": expected})


def test_blocks_of_other_sizes_are_refused(tmp_path: Path) -> None:
    node = helper.make_node(
        "MatMulNBits",
        ["x", "fc.weight", "s"],
        ["y"],
        domain="com.microsoft",
        K=64,
        N=6,
        bits=4,
        block_size=16,
    )
    with pytest.raises(UnsupportedFormat, match=r"fc\.weight"):
        read(tmp_path, [node], s=np.ones(18, np.float32), **{"fc.weight": np.ones((6, 3, 8), np.uint8)})


def test_rows_of_a_quantised_embedding(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Gather", ["embed.weight", "x"], ["rows"]),
        helper.make_node("DequantizeLinear", ["rows", "s", "z"], ["y"]),
    ]
    found = read(tmp_path, nodes, s=np.float32(0.5), z=np.int8(3), **{"embed.weight": CODES})
    close(found, {"embed.weight": (CODES.astype(float) - 3) * 0.5})


def test_biases_of_quantised_sums(tmp_path: Path) -> None:
    nodes = [
        helper.make_node(
            "QLinearMatMul", ["x", "xs", "xz", "fc.weight_quantized", "ws", "wz", "ys", "yz"], ["m"]
        ),
        helper.make_node(
            "QLinearAdd",
            ["m", "ys", "yz", "fc.bias_quantized", "bs", "bz", "ys", "yz"],
            ["y"],
            domain="com.microsoft",
        ),
    ]
    number, zero = np.float32(0.5), np.int8(2)
    parts = dict.fromkeys(("xs", "ws", "ys", "bs"), number) | dict.fromkeys(("xz", "wz", "yz", "bz"), zero)
    names = {"fc.weight_quantized": CODES, "fc.bias_quantized": CODES[0]}
    expected = {"fc.weight": (CODES.astype(float) - 2).T * 0.5, "fc.bias": (CODES[0].astype(float) - 2) * 0.5}
    close(read(tmp_path, nodes, **parts, **names), expected)


def test_scales_a_column_are_no_gains(tmp_path: Path) -> None:
    name = "onnx::MatMul_10"
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        helper.make_node("MatMulInteger", ["q", f"{name}_quantized", "z", "wz"], ["i"], name="/fc/MatMul"),
        helper.make_node("Cast", ["i"], ["c"], to=1),
        helper.make_node("Mul", ["s", f"{name}_scale"], ["both"]),
        helper.make_node("Mul", ["c", "both"], ["y"]),
    ]
    scale = np.float32([0.1, 0.2, 0.3, 0.4])
    constants = {f"{name}_quantized": CODES, f"{name}_scale": scale, "wz": np.zeros(4, np.int8)}
    close(read(tmp_path, nodes, **constants), {"fc.weight": (CODES * scale).T})


def test_which_of_two_constant_scales_is_the_weight_s_is_not_guessed(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("MatMulInteger", ["x", "fc.weight", "", "wz"], ["i"]),
        helper.make_node("Cast", ["i"], ["c"], to=1),
        helper.make_node("Mul", ["xs", "ws"], ["both"]),
        helper.make_node("Mul", ["c", "both"], ["y"]),
    ]
    parts = {"xs": np.float32(0.5), "ws": np.float32(0.25), "wz": np.int8(0)}
    assert "fc.weight" not in read(tmp_path, nodes, **parts, **{"fc.weight": CODES})


def test_zero_points_that_are_computed_are_not_left_out(tmp_path: Path) -> None:
    node = helper.make_node(
        "MatMulNBits",
        ["x", "fc.weight", "s", "z"],
        ["y"],
        domain="com.microsoft",
        K=48,
        N=6,
        bits=4,
        block_size=16,
    )
    parts = {"s": np.ones(18, np.float32), "fc.weight": np.ones((6, 3, 8), np.uint8)}
    assert "fc.weight" not in read(tmp_path, [node], **parts)

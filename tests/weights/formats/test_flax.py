"""Flax's msgpack files, as ``flax.serialization`` writes them: trees, scalars, a training's state, chunks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
import torch

from peace_pipeline.weights.errors import CorruptFile, ExcessiveSize, UnsupportedFormat
from tests.weights.reading import read_all, refusal


def array(values: np.ndarray, dtype: str | None = None) -> msgpack.ExtType:
    packed = msgpack.packb((values.shape, dtype or values.dtype.name, values.tobytes()), use_bin_type=True)
    return msgpack.ExtType(1, packed)


def written(path: Path, tree: Any) -> Path:
    path.write_bytes(msgpack.packb(tree))
    return path


def numbers(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


def test_a_training_state_is_its_network(tmp_path: Path) -> None:
    kernel, image = numbers(3, 4), numbers(2, 2, 3, 5)
    tree = {
        "step": 7,
        "params": {
            "Dense_0": {"kernel": array(kernel), "bias": array(numbers(4))},
            "Conv_0": {"kernel": array(image)},
            "mu": {"kernel": array(kernel)},
            "BatchNorm_0": {"scale": array(numbers(5)), "bias": array(numbers(5))},
        },
        "optimizer": {"m": array(kernel)},
        "ema_params": {"Dense_0": {"kernel": array(kernel)}},
        "batch_stats": {"BatchNorm_0": {"mean": array(numbers(5)), "var": array(numbers(5))}},
        "opt_state": {"0": {"mu": {"Dense_0": {"kernel": array(kernel)}}}},
    }
    found = read_all(written(tmp_path / "m.msgpack", tree))
    assert found.keys() == {
        "Dense_0.weight", "Dense_0.bias", "Conv_0.weight", "BatchNorm_0.weight", "BatchNorm_0.bias",
        "BatchNorm_0.running_mean", "BatchNorm_0.running_var", "mu.weight",
    }  # fmt: skip
    assert np.array_equal(found["Dense_0.weight"].numpy(), kernel.T)
    assert np.array_equal(found["Conv_0.weight"].numpy(), image.transpose(3, 2, 0, 1))


def test_heads_of_attention(tmp_path: Path) -> None:
    query, out, bias = numbers(6, 2, 3), numbers(2, 3, 6), numbers(2, 3)
    tree = {"attn": {"query": {"kernel": array(query), "bias": array(bias)}, "out": {"kernel": array(out)}}}
    found = read_all(written(tmp_path / "m.msgpack", tree))
    assert np.array_equal(found["attn.query.weight"].numpy(), query.reshape(6, 6).T)
    assert np.array_equal(found["attn.query.bias"].numpy(), bias.reshape(6))
    assert np.array_equal(found["attn.out.weight"].numpy(), out.reshape(6, 6).T)


def test_bfloat16_and_long_names(tmp_path: Path) -> None:
    values = torch.arange(6.0).view(2, 3).bfloat16()
    tree = {"w" * 300: array(values.view(torch.int16).numpy(), "bfloat16")}
    assert torch.equal(read_all(written(tmp_path / "m.msgpack", tree))["w" * 300], values)


@pytest.mark.parametrize(
    ("tree", "kind", "said"),
    [
        ({"a": {"__msgpack_chunked_array__": True}}, UnsupportedFormat, "in chunks"),
        ({"a": array(numbers(2), "float4")}, UnsupportedFormat, "of type 'float4'"),
        ({"a": array(numbers(2), "float64")}, CorruptFile, "does not take"),
        ([1, 2], CorruptFile, "no tree"),
        ({"a": msgpack.ExtType(1, b"abc")}, CorruptFile, "no array"),
        ({3: 4}, CorruptFile, "no text"),
    ],
)
def test_what_is_refused(tree: Any, kind: Any, said: str, tmp_path: Path) -> None:
    path = written(tmp_path / "m.msgpack", tree)
    assert said in refusal(path, kind)


def test_depth_is_bounded(tmp_path: Path) -> None:
    tree: Any = {}
    for _ in range(200):
        tree = {"a": tree}
    assert "nested" in refusal(written(tmp_path / "m.msgpack", tree), ExcessiveSize)

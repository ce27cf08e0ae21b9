"""Packed floats of 4 bits, and sparse weights, come to what their schemes document."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from peace_pipeline.weights.errors import UnsupportedFormat
from tests.weights.logical.packing import packed
from tests.weights.logical.packing.test_affine import WEIGHT, close, reading
from tests.weights.logical.states import read_all

FP4 = (
    0.0, 0.00520833, 0.66666667, 1.0, 0.33333333, 0.5, 0.16666667, 0.25,
    -0.0, -0.00520833, -0.66666667, -1.0, -0.33333333, -0.5, -0.16666667, -0.25,
)  # fmt: skip


@pytest.mark.parametrize("nested", [0, 16])
@pytest.mark.parametrize("kind", ["nf4", "fp4"])
def test_bitsandbytes(kind: str, nested: int, tmp_path: Path) -> None:
    table = packed.NF4 if kind == "nf4" else FP4
    state, expected = packed.bitsandbytes(WEIGHT, kind, table, 64, nested)
    close(reading(tmp_path, state), expected)
    for storage in (torch.bfloat16, torch.float32):  # most words are no numbers
        words = state | {"weight": state["weight"].view(-1).view(storage)[:, None]}
        close(reading(tmp_path, words), expected)
    state, expected = packed.bitsandbytes(WEIGHT[:7, :9], kind, table, 64, nested)  # an odd number of values
    close(reading(tmp_path, state), expected)


def test_bitsandbytes_without_its_state_is_refused(tmp_path: Path) -> None:
    state, _ = packed.bitsandbytes(WEIGHT, "nf4", packed.NF4, 64)
    del state["weight.quant_state.bitsandbytes__nf4"]
    with pytest.raises(UnsupportedFormat, match="bitsandbytes"):
        reading(tmp_path, state)


@pytest.mark.parametrize(
    "lie",
    [
        {"blocksize": 2**40}, {"shape": [-32, -128]}, {"nested_offset": 10**400}, {"nested_offset": float("nan")},
        {"nested_blocksize": 0}, {"shape": [2**40, 2**40]}, {"blocksize": True},
    ],
    ids=str,
)  # fmt: skip
def test_states_that_lie(lie: dict[str, object], tmp_path: Path) -> None:
    state, _ = packed.bitsandbytes(WEIGHT, "nf4", packed.NF4, 64, 16)
    key = "weight.quant_state.bitsandbytes__nf4"
    said = json.dumps(json.loads(bytes(state[key].tolist())) | lie)
    state[key] = torch.tensor(list(said.encode()), dtype=torch.uint8)
    with pytest.raises(UnsupportedFormat, match="bitsandbytes"):
        reading(tmp_path, state)


def test_nvfp4(tmp_path: Path) -> None:
    second = torch.tensor(64.0)
    first = (torch.rand(32, 8, generator=torch.Generator().manual_seed(6)) + 0.5).to(torch.float8_e4m3fn)
    octets, expected = packed.four_bits(WEIGHT, first.float() / second, 16)
    own = {"weight_packed": octets, "weight_scale": first, "weight_global_scale": second.view(1)}
    close(reading(tmp_path, own | {"input_global_scale": torch.ones(1)}), expected)
    of_modelopt = {"weight": octets, "weight_scale": first, "weight_scale_2": 1 / second}
    close(reading(tmp_path, of_modelopt | {"input_scale": torch.tensor(1.0)}), expected)


def test_mxfp4(tmp_path: Path) -> None:
    exponents = torch.randint(118, 124, (2, 16, 3), generator=torch.Generator().manual_seed(7))
    weight = torch.randn(2, 16, 96, generator=torch.Generator().manual_seed(8)) / 20
    octets, expected = packed.four_bits(weight, torch.exp2(exponents - 127.0), 32)
    state = {
        "norm.weight": torch.ones(16),
        "mlp.experts.down_proj_blocks": octets.view(2, 16, 3, 16),
        "mlp.experts.down_proj_scales": exponents.to(torch.uint8),
    }
    tensors = read_all(tmp_path, state)
    close(tensors["mlp.experts.down_proj"], expected.mT)
    own = {"weight_packed": octets[0], "weight_scale": exponents[0].to(torch.uint8)}
    close(reading(tmp_path, own), expected[0])


def test_sparse(tmp_path: Path) -> None:
    weight = torch.where(WEIGHT.abs() > 0.1, WEIGHT, 0)[:, :100]
    bits = (weight != 0).numpy()
    mask = torch.zeros(32, 13, dtype=torch.uint8)
    for row, column in zip(*bits.nonzero(), strict=True):
        mask[row, column // 8] |= 1 << (column % 8)
    state = {
        "weight.compressed": weight[weight != 0], "weight.bitmask": mask, "weight.shape": torch.tensor([32, 100]),
        "weight.row_offsets": torch.arange(32),
    }  # fmt: skip
    close(reading(tmp_path, state), weight.double())

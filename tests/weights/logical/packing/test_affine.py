"""Packed integers come to what their schemes document, or are refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from peace_pipeline.weights.errors import UnreadableCheckpoint, UnsupportedFormat
from tests.weights.logical.packing import packed
from tests.weights.logical.packing.packed import State, codes_of, value
from tests.weights.logical.states import read_all

WEIGHT = torch.randn(32, 128, generator=torch.Generator().manual_seed(3)) / 10


def reading(folder: Path, state: State, **settings: object) -> torch.Tensor:
    """The one layer ``a.weight`` of a network with these tensors."""
    named = {f"a.{name}": tensor for name, tensor in state.items()}
    tensors = read_all(folder, {**named, "norm.weight": torch.ones(32)}, {"quantization_config": settings})
    assert tensors.keys() == {"a.weight", "norm.weight"}
    return tensors["a.weight"]


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_gptq(bits: int, tmp_path: Path) -> None:
    expected = value(*codes_of(WEIGHT, bits, 32), 32)
    close(reading(tmp_path, packed.gptq(WEIGHT, bits, 32)), expected)
    state = packed.gptq(WEIGHT, bits, 32, version=2)
    close(reading(tmp_path, state, quant_method="gptq", checkpoint_format="gptq_v2"), expected)
    del state["g_idx"]
    close(reading(tmp_path, state, quant_method="gptq", checkpoint_format="gptq_v2"), expected)


def test_gptq_in_the_order_of_activations(tmp_path: Path) -> None:
    order = torch.randperm(128, generator=torch.Generator().manual_seed(4))
    expected = value(*codes_of(WEIGHT[:, order], 4, 32), 32)[:, order.argsort()]
    close(reading(tmp_path, packed.gptq(WEIGHT, 4, 32, order=order)), expected)


def test_a_group_that_gptq_does_not_have_is_a_damage(tmp_path: Path) -> None:
    state = packed.gptq(WEIGHT, 4, 32)
    state["g_idx"][5] = 77
    with pytest.raises(UnreadableCheckpoint, match=r"a\.weight"):
        reading(tmp_path, state)


def test_awq(tmp_path: Path) -> None:
    close(reading(tmp_path, packed.awq(WEIGHT, 64)), value(*codes_of(WEIGHT, 4, 64), 64))


@pytest.mark.parametrize("bits", [2, 3, 4, 5, 6, 8])
def test_mlx(bits: int, tmp_path: Path) -> None:
    found = reading(tmp_path, packed.mlx(WEIGHT, bits, 32), bits=bits, group_size=32)
    close(found, value(*codes_of(WEIGHT, bits, 32), 32))


def test_mlx_with_other_bits_for_a_layer(tmp_path: Path) -> None:
    state = packed.mlx(WEIGHT, 8, 64)
    expected = value(*codes_of(WEIGHT, 8, 64), 64)
    close(reading(tmp_path, state, bits=4, group_size=64, a={"bits": 8, "group_size": 64}), expected)
    with pytest.raises(UnsupportedFormat, match="MLX"):
        reading(tmp_path, state, bits=4, group_size=64)


def test_mlx_with_4_bit_floats(tmp_path: Path) -> None:
    exponents = torch.randint(118, 124, (32, 4), generator=torch.Generator().manual_seed(5))
    octets, expected = packed.four_bits(WEIGHT, torch.exp2(exponents - 127.0), 32)
    state = {"weight": octets.view(torch.uint32), "scales": exponents.to(torch.uint8)}
    close(reading(tmp_path, state, bits=4, group_size=32, mode="mxfp4"), expected)


@pytest.mark.parametrize("is_symmetric", [True, False])
@pytest.mark.parametrize("bits", [4, 8])
def test_pack_quantized(bits: int, is_symmetric: bool, tmp_path: Path) -> None:
    state, expected = packed.compressed(WEIGHT[:, :96], bits, 32, is_symmetric=is_symmetric)
    close(reading(tmp_path, state), expected)
    state, expected = packed.compressed(WEIGHT[:30, :90], bits, 90, is_symmetric=is_symmetric)
    close(reading(tmp_path, state), expected)


def test_the_last_group_may_be_smaller(tmp_path: Path) -> None:
    wide = torch.cat([WEIGHT, WEIGHT], 1)
    state, expected = packed.compressed(wide, 4, 128, is_symmetric=True)
    said = {"config_groups": {"group_0": {"weights": {"num_bits": 4, "group_size": 128}}}}
    shorter = state | {
        "weight_packed": state["weight_packed"][:, :25],
        "weight_shape": torch.tensor([32, 200]),
    }
    close(reading(tmp_path, shorter, **said), expected[:, :200])


def test_bits_that_no_config_says_are_those_that_alone_fit(tmp_path: Path) -> None:
    state, expected = packed.compressed(WEIGHT[:, :8], 4, 8, is_symmetric=True)
    with pytest.raises(UnsupportedFormat, match="compressed-tensors"):  # 2 bits would fit
        reading(tmp_path, state)
    said = {"config_groups": {"group_0": {"weights": {"num_bits": 4}}}}
    close(reading(tmp_path, state, **said), expected)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_hqq(bits: int, axis: int, tmp_path: Path) -> None:
    flat = WEIGHT.view(-1, 64) if axis else WEIGHT.view(64, -1)
    codes, scale, zero = codes_of(flat if axis else flat.T, bits, 64)
    codes, scale, zero = (each if axis else each.T for each in (codes, scale, zero))
    per = 8 // bits
    step = len(codes) // per
    octets = sum(codes[part * step : (part + 1) * step] << (8 - bits * (part + 1)) for part in range(per))
    state = {
        "W_q": octets.to(torch.uint8), "scale": scale.contiguous(), "zero": zero.float().contiguous(),
        "shape": torch.tensor(WEIGHT.shape), "nbits": torch.tensor([bits]), "axis": torch.tensor([axis]),
        "group_size": torch.tensor([64]), "packing": torch.tensor(list(b"4bit_u8")),
    }  # fmt: skip
    close(reading(tmp_path, state), ((codes.double() - zero) * scale.double()).reshape(WEIGHT.shape))


REFUSED: dict[str, tuple[State, str]] = {
    "GPTQ of other shapes": (packed.gptq(WEIGHT, 4, 32) | {"scales": torch.ones(3, 32)}, "GPTQ"),
    "AWQ for vectors": ({"qweight": torch.ones(32, 16).int(), "scales": torch.ones(32, 4)}, "AWQ"),
    "MLX without a config": (packed.mlx(WEIGHT, 4, 32), "MLX"),
    "HQQ without its settings": ({"W_q": torch.ones(8, 4).byte(), "scale": torch.ones(8, 1)}, "HQQ"),
    "no shape": ({"weight_packed": torch.ones(8, 4).int(), "weight_scale": torch.ones(8, 1)}, "compressed-tensors"),
    "EXL2": ({"q_weight": torch.ones(8, 4).int(), "q_scale_max": torch.ones(2)}, "EXL2"),
    "AQLM": ({"codes": torch.ones(8, 4, 1).byte(), "codebooks": torch.ones(1, 256, 1, 8)}, "AQLM"),
    "VPTQ": ({"indices": torch.ones(8, 4).int(), "centroids": torch.ones(1, 64)}, "VPTQ"),
    "QuIP#": ({"Qidxs": torch.ones(8, 4).long(), "SU": torch.ones(8)}, "QuIP#"),
    "Marlin": ({"B": torch.ones(8, 64).int(), "s": torch.ones(4, 32)}, "Marlin"),
    "EETQ": ({"weight": torch.ones(32, 8).char(), "weight_scales": torch.ones(8)}, "EETQ"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_unpacked_is_refused_by_name(case: str, tmp_path: Path) -> None:
    state, scheme = REFUSED[case]
    with pytest.raises(UnsupportedFormat, match=rf"'a\..*{scheme}"):
        reading(tmp_path, state)

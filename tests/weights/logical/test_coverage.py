"""Every byte of a checkpoint became a layer, is a known buffer, or is said to be unread; much unread is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from peace_pipeline.weights.checkpoint import open_checkpoint
from peace_pipeline.weights.errors import UnsupportedFormat
from peace_pipeline.weights.logical import logical
from tests.weights.logical.packing.packed import mlx
from tests.weights.logical.states import State, read_all, written

WEIGHT = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))


ALL = {"layers": 1.0, "buffers": 0.0, "averages": 0.0, "unread": 0.0}


def shares(folder: Path, state: State, **settings: object) -> dict[str, float]:
    with open_checkpoint([written(folder / "m.safetensors", state)]) as checkpoint:
        return logical(checkpoint, {"quantization_config": settings}).coverage.shares


def test_shares_of_bytes(tmp_path: Path) -> None:
    state = {
        "a.weight": WEIGHT,
        "a.inv_freq": torch.ones(2048),
        "position_ids": torch.arange(1024),
        "scalar": torch.tensor(1.0),
    }
    total = 4 * 64 * 64 + 4 * 2048 + 8 * 1024 + 4
    assert shares(tmp_path, state) == {
        "layers": 4 * 64 * 64 / total,
        "buffers": (4 * 2048 + 8 * 1024) / total,
        "averages": 0.0,
        "unread": 4 / total,
    }


def test_averages_are_said_to_be_such(tmp_path: Path) -> None:
    own, copy = {"a.weight": WEIGHT}, {"ema.a.weight": WEIGHT / 2}
    halves = ALL | {"layers": 0.5, "averages": 0.5}
    assert shares(tmp_path, own | copy) == halves
    torch.save({"model": own, "model_ema": own | {"a.weight": WEIGHT / 2}}, tmp_path / "m.pt")
    with open_checkpoint([tmp_path / "m.pt"]) as checkpoint:
        assert logical(checkpoint, {}).coverage.shares == halves


def test_what_is_unpacked_is_read(tmp_path: Path) -> None:
    state = {f"a.{name}": tensor for name, tensor in mlx(WEIGHT, 4, 32).items()}
    assert shares(tmp_path, state, bits=4, group_size=32) == ALL


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.uint32, torch.complex64])
def test_weights_that_nobody_reads_are_refused_with_their_names(dtype: torch.dtype, tmp_path: Path) -> None:
    state = {"a.weight": WEIGHT, "b.kernel": torch.full((8, 64), 3).to(dtype)}
    with pytest.raises(UnsupportedFormat, match=rf"'b\.kernel' \({str(dtype).removeprefix('torch.')}\)"):
        read_all(tmp_path, state)
    state["b.kernel"] = state["b.kernel"][:1, :8]
    assert read_all(tmp_path, state).keys() >= {"a.weight"}


def test_masks_and_positions_are_no_weights(tmp_path: Path) -> None:
    state = {
        "a.weight": WEIGHT,
        "a.flags": torch.ones(64, 64, dtype=torch.bool),
        "a.places": torch.arange(4096).view(64, 64) - 1,
        "lengths": torch.ones(4096, dtype=torch.int32),
    }
    assert shares(tmp_path, state)["unread"] == 0


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.int16])
def test_integers_of_any_size_are_no_indices(dtype: torch.dtype, tmp_path: Path) -> None:
    most = torch.iinfo(dtype).max
    values = torch.randint(-most, most, (64, 64), generator=torch.Generator().manual_seed(1), dtype=dtype)
    with pytest.raises(UnsupportedFormat, match="codes"):
        read_all(tmp_path, {"a.weight": WEIGHT, "codes": values})


def test_flat_parameters_and_averages(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedFormat, match="flat parameter of FSDP"):
        read_all(tmp_path, {"_fsdp_wrapped_module._flat_param": torch.ones(100), "a.weight": WEIGHT})
    state = {"a.weight": WEIGHT, "ema.a.weight": WEIGHT + 1}
    assert read_all(tmp_path, state).keys() == {"a.weight"}


def test_integers_of_16_bits_that_number_nothing_are_weights(tmp_path: Path) -> None:
    values = torch.randint(-3000, 3000, (64, 64), dtype=torch.int16)
    with pytest.raises(UnsupportedFormat, match=r"'layer\.w' \(int16\)"):
        read_all(tmp_path, {"a.weight": WEIGHT, "layer.w": values})
    places = torch.arange(4096, dtype=torch.int16).view(64, 64)
    assert shares(tmp_path, {"a.weight": WEIGHT, "places": places})["unread"] == 0


def test_weights_of_classes_in_a_loss_are_no_layers(tmp_path: Path) -> None:
    state = {"a.weight": WEIGHT, "criterion.weight": torch.ones(10), "metric.weight": WEIGHT}
    assert read_all(tmp_path, state).keys() == {"a.weight", "metric.weight"}

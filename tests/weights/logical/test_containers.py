"""Packed weights are read, and others refused, alike from every format that people pack them into."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from peace_pipeline.weights.checkpoint import open_checkpoint
from peace_pipeline.weights.errors import UnsupportedFormat
from peace_pipeline.weights.logical import logical
from tests.weights.logical.packing import packed
from tests.weights.logical.packing.packed import State
from tests.weights.logical.packing.test_affine import REFUSED, WEIGHT, close
from tests.weights.logical.states import written

PACKED: dict[str, tuple[State, torch.Tensor, dict[str, object]]] = {
    "gptq": (packed.gptq(WEIGHT, 4, 32), packed.value(*packed.codes_of(WEIGHT, 4, 32), 32), {}),
    "awq": (packed.awq(WEIGHT, 64), packed.value(*packed.codes_of(WEIGHT, 4, 64), 64), {}),
    "mlx": (
        packed.mlx(WEIGHT, 4, 32), packed.value(*packed.codes_of(WEIGHT, 4, 32), 32), {"bits": 4, "group_size": 32},
    ),
    "nf4": (*packed.bitsandbytes(WEIGHT, "nf4", packed.NF4, 64), {}),
    "pack-quantized": (*packed.compressed(WEIGHT, 4, 32, is_symmetric=True), {}),
}  # fmt: skip


def read(folder: Path, suffix: str, state: State, **settings: object) -> torch.Tensor:
    named = {f"a.{name}": tensor for name, tensor in state.items()} | {"norm.weight": torch.ones(32)}
    path = folder / f"m{suffix}"
    torch.save(named, path) if suffix == ".pt" else written(path, named)
    with open_checkpoint([path]) as checkpoint:
        return logical(checkpoint, {"quantization_config": settings}).read("a.weight", torch.float64)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("scheme", PACKED)
def test_packed_weights(scheme: str, suffix: str, tmp_path: Path) -> None:
    state, expected, settings = PACKED[scheme]
    close(read(tmp_path, suffix, state, **settings), expected)


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("case", ["EXL2", "AQLM", "Marlin"])
def test_what_is_not_unpacked(case: str, suffix: str, tmp_path: Path) -> None:
    state, scheme = REFUSED[case]
    with pytest.raises(UnsupportedFormat, match=scheme):
        read(tmp_path, suffix, state)

"""Storages that are pickled as files of PyTorch's of their own."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from peace_pipeline.weights.errors import CorruptFile
from peace_pipeline.weights.formats.legacy import opened
from peace_pipeline.weights.local_blob import Bytes
from tests.weights.formats.pickled import STATE, bits, read_all, refusal, same

WEIGHT = torch.arange(24.0).view(4, 6)
TENSORS: dict[str, torch.Tensor] = {
    "plain": WEIGHT,
    "transposed": WEIGHT.T,
    "a part": WEIGHT[1:, ::2],
    "bfloat16": WEIGHT.bfloat16(),
    "float8": WEIGHT.to(torch.float8_e4m3fn),
    "integers": WEIGHT.int(),
    "a parameter": nn.Parameter(WEIGHT),
}


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_tensors_in_a_pickle(protocol: int, tmp_path: Path) -> None:
    path = tmp_path / "m.pkl"
    path.write_bytes(pickle.dumps(TENSORS, protocol))
    found = read_all(path)
    assert found.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert torch.equal(bits(found[name]), bits(tensor)), name
        assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape)


@pytest.mark.parametrize("content", [{"model": STATE, "epoch": 3}, {"state_dict": STATE}])
def test_checkpoints_in_a_pickle(content: Any, tmp_path: Path) -> None:
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(content))
    assert same(read_all(tmp_path / "m.pkl"), STATE)


def test_a_module_in_a_pickle(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    (tmp_path / "m.pkl").write_bytes(pickle.dumps(module))
    assert same(read_all(tmp_path / "m.pkl"), dict(module.state_dict()))


def test_storages_that_are_cut_off_or_no_files(tmp_path: Path) -> None:
    path, content = tmp_path / "m.pkl", pickle.dumps({"w": WEIGHT})
    start = content.index(WEIGHT.numpy().tobytes())
    path.write_bytes(content[: start - 8] + (2**40).to_bytes(8, "little") + content[start:])
    assert "no file of PyTorch's" in refusal(path, CorruptFile)
    with pytest.raises(CorruptFile):
        opened(Bytes("m", b"no pickle"))

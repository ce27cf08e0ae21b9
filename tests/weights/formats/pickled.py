"""Files of torch.save: written, read and seen refused."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, settings
from torch import nn

from peace_pipeline.weights.checkpoint import open_checkpoint
from peace_pipeline.weights.errors import (
    UnreadableCheckpoint,
)

STATE = {"a.weight": torch.arange(6.0).view(3, 2), "a.bias": torch.ones(3), "steps": torch.tensor(4)}

FORMS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])

ROBUST = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def written(path: Path, content: object, zipped: bool = True, **options: Any) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=zipped, **options)
    return path


def read_all(path: Path) -> dict[str, torch.Tensor]:
    with open_checkpoint([path]) as checkpoint:
        return {name: checkpoint.read(name, None) for name in checkpoint.tensors}


def same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    return [*found] == [*expected] and all(
        found[k].dtype == v.dtype and found[k].shape == v.shape and torch.equal(bits(found[k]), bits(v))
        for k, v in expected.items()
    )


def bits(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().clone(memory_format=torch.contiguous_format).flatten().view(torch.uint8)


def refusal(path: Path, kind: type[UnreadableCheckpoint]) -> str:
    with pytest.raises(kind) as error:
        read_all(path)
    assert "\n" not in str(error.value)
    return str(error.value)


class Learner:
    def __init__(self, model: nn.Module) -> None:
        self.model, self.history = model, [torch.ones(3)]


def in_zip(path: Path, pickled: bytes, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m/data.pkl", pickled)
        for name, content in members.items():
            archive.writestr(f"m/data/{name.removeprefix('_')}", content)
    return path


def tensor_pickle(
    key: str = "0", length: int = 4, shape: bytes = b"K\x04\x85", strides: bytes = b"K\x01\x85"
) -> bytes:
    name = key.encode()
    return (
        b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\n"
        b"FloatStorage\nX" + struct.pack("<I", len(name)) + name + b"X\x03\x00\x00\x00cpu\x8a\x08"
        b"" + struct.pack("<q", length) + b"tQK\x00" + shape + strides + b"\x89}tRs."
    )


WHOLE = struct.pack("<4f", 1, 2, 3, 4)

"""What tests of single formats do with a file: read all of it, or see it refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from peace_pipeline.weights.checkpoint import open_checkpoint
from peace_pipeline.weights.errors import UnreadableCheckpoint


def read_all(path: Path) -> dict[str, torch.Tensor]:
    """Every tensor in its own dtype."""
    with open_checkpoint([path]) as checkpoint:
        return {name: checkpoint.read(name, None) for name in checkpoint.tensors}


def refusal(path: Path, kind: type[UnreadableCheckpoint]) -> str:
    """The reason for which a file is refused, by an error of just this kind that names the file."""
    with pytest.raises(kind) as error:
        read_all(path)
    assert type(error.value) is kind
    assert path.name in str(error.value)
    return str(error.value)

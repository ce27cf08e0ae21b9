"""Checkpoints with changed values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from peace_pipeline.weights.checkpoint import open_checkpoint
from peace_pipeline.weights.rewriting import rewrite

Change = Callable[[torch.Tensor], torch.Tensor | None]


def numbers(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(shape, generator=generator).to(dtype)


def reversed_rows(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.flip(0) if tensor.dim() else -tensor


def rewritten(source: Path, destination: Path, change: Change = reversed_rows) -> Path:
    """A copy of one weight file with every stored tensor changed."""
    with open_checkpoint([source]) as checkpoint:
        rewrite(source, destination, [source], lambda name: change(checkpoint.read(name, None)))
    return destination


def leftovers(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}

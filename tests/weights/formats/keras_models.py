"""Keras models: made, saved and read."""

from __future__ import annotations

from pathlib import Path

import keras
import torch

from peace_pipeline.weights.checkpoint import open_checkpoint

Tensors = dict[str, torch.Tensor]

SUFFIXES = (".keras", ".h5", ".weights.h5")


def read_all(path: Path) -> Tensors:
    """Every tensor, which must also be what its rows are that are read one by one."""
    with open_checkpoint([path]) as checkpoint:
        tensors = {}
        for name, info in checkpoint.tensors.items():
            tensor = tensors[name] = checkpoint.read(name, None)
            assert tuple(tensor.shape) == info.shape
            for row in range(info.shape[0] if info.shape else 0):
                assert torch.equal(checkpoint.read(name, None, (row, row + 1)), tensor[row : row + 1])
        return tensors


def saved(model: keras.Model, path: Path) -> Path:
    if path.name.endswith(".weights.h5"):
        model.save_weights(path)
    else:
        model.save(path)
    return path

"""HDF5 files: written and read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import torch

from peace_pipeline.weights.checkpoint import open_checkpoint

RANDOM = np.random.default_rng(0)

MATRIX = RANDOM.standard_normal((7, 5)).astype(np.float32)


def read_all(path: Path) -> dict[str, torch.Tensor]:
    with open_checkpoint([path]) as checkpoint:
        return {name: checkpoint.read(name, None) for name in checkpoint.tensors}


@contextmanager
def new(path: Path, **options: object) -> Iterator[h5py.File]:
    with h5py.File(path, "w", **options) as file:
        yield file


def children(of: int) -> list[int]:
    """The processes that a process has started."""
    return [int(pid) for pid in Path(f"/proc/{of}/task/{of}/children").read_text().split()]


def helper() -> int:
    """The process that forks readers."""
    commands = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in children(os.getpid())}
    return next(pid for pid, command in commands.items() if b"hdf5_helper" in command)

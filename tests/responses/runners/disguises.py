"""Copies of models that all their symmetries acted on, and how far apart two networks' answers are."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from torch import Tensor

from peace_pipeline.symmetry.opening import LocalModel
from peace_pipeline.symmetry.testing import TOLERANCE, movement
from peace_pipeline.symmetry.transforming import strengths, transform
from peace_pipeline.weights.checkpoint import weight_files

EXACT = 1e-9
"""How far, of the largest, answers in float64 may lie apart."""
_EVERYTHING = strengths([], everything=True, decades=None)


def disguised(folder: Path, seed: int, *, assume: bool = False) -> Path:
    """A copy beside a model's folder or file, after a random element of its whole symmetry group acted on it."""
    source = LocalModel(folder, weight_files(folder) if folder.is_dir() else [folder])
    copy = folder.with_name(f"copy-{folder.name}")
    shutil.rmtree(copy, ignore_errors=True)
    copy.unlink(missing_ok=True)
    made = transform(source, copy, _EVERYTHING, lenient=True, seed=seed, assume=assume)
    assert made.actions
    return copy


def assert_alike(one: Tensor, other: Tensor, exact: float = EXACT) -> None:
    """Answers (inputs, outputs) of one function: alike to ``exact`` in float64, to the wirings' bound in float32."""
    assert one.dtype == other.dtype
    if one.dtype == torch.float64:
        assert (one - other).abs().max() / one.abs().max() <= exact
    else:
        assert movement(one, other).max() <= TOLERANCE[torch.float32]

"""Fine-tuned populations as files: a study that was stopped goes on where it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from peace_pipeline.evaluation.derivatives import Specimen
from peace_pipeline.evaluation.transfer.targets import Drawn
from peace_pipeline.evaluation.transfer.tuning import Budget, Tuned, fine_tune
from peace_pipeline.lake import atomic

FORMAT = 3
"""Of the files, and of how networks are tuned: another one makes all that are there outdated."""
_ARRAYS = ("accuracy", "f1", "validation", "seconds", "logme", "evidence", "leep")
_SCRATCH = "scratch/"


class Runs:
    """A folder of fine-tuned populations, each named by the hash of all that it follows from."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def tuned(
        self, config: dict[str, Any], candidates: Sequence[Specimen], drawn: Drawn, seed: int, budget: Budget
    ) -> Tuned:
        """What came of the candidates, which are of one ``config``: read where it is known, else had by training."""
        path = self.folder / f"{_digest(config, candidates, drawn, seed, budget)}.npz"
        if path.exists():
            return _read(path)
        found = fine_tune(config, [each.state for each in candidates], drawn, seed, budget)
        scratch = {f"{_SCRATCH}{name}": value.numpy() for name, value in found.scratch.items()}
        with atomic(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **{name: getattr(found, name) for name in _ARRAYS}, **scratch)  # type: ignore[arg-type]
        return found


def _digest(
    config: dict[str, Any], candidates: Sequence[Specimen], drawn: Drawn, seed: int, budget: Budget
) -> str:
    networks = [(each.listed.model_id, each.listed.revision) for each in candidates]
    told = [FORMAT, asdict(budget), asdict(drawn.target), seed, config, networks]
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    for part in (drawn.train, drawn.validation, drawn.test):
        digest.update(part.numbers.tobytes() + part.labels.tobytes())
        digest.update(b"" if part.tokens is None else part.tokens.tobytes())
    return digest.hexdigest()


def _read(path: Path) -> Tuned:
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    scratch = {
        name.removeprefix(_SCRATCH): torch.from_numpy(value)
        for name, value in arrays.items()
        if name.startswith(_SCRATCH)
    }
    kept = {name: arrays[name] for name in _ARRAYS}
    return Tuned(**kept | {"seconds": float(kept["seconds"])}, scratch=scratch)

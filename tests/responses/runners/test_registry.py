"""Which way of running a network fits it."""

from __future__ import annotations

from pathlib import Path

import pytest

from peace_pipeline.responses.runners.model import CannotRun, Model, Ready
from peace_pipeline.responses.runners.registry import load
from peace_pipeline.weights.checkpoint import open_checkpoint, weight_files
from tests.lakes import write_network
from tests.networks import config_of


def loaded(config: dict, folder: Path) -> Ready:
    write_network(folder, "cnn")
    with open_checkpoint(weight_files(folder)) as checkpoint:
        return load(Model("m", checkpoint, config, folder))


def test_the_first_that_fits_runs_it(tmp_path: Path) -> None:
    assert loaded(config_of("cnn"), tmp_path / "m").run_by == "trained"


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({}, "no config.json says"),
        ({"model_type": "mine"}, "runs mine"),
        ({"architectures": ["Mine"]}, "runs Mine"),
    ],
)
def test_what_nothing_runs_is_a_reason(config: dict, reason: str, tmp_path: Path) -> None:
    with pytest.raises(CannotRun, match=reason):
        loaded(config, tmp_path / "m")

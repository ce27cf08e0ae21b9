"""From nothing to the shipped encoder by the command that made the one in the package, at a small size."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from peace_pipeline.encoder import store
from peace_pipeline.encoder.shipping import ship
from peace_pipeline.lake import Lake
from peace_pipeline.zoo.trained import PLANS
from tests.pipeline import environment

ROOT = Path(__file__).parents[2]
SMALL = PLANS["pretraining"].chunk_size


def make(folder: Path) -> str:
    """Run ``make pretrained`` for one chunk of the zoo and one epoch; what it printed."""
    command = [
        "make",
        "--no-print-directory",
        "-o",
        ".venv",
        "pretrained",
        f"BIN={Path(sys.executable).parent}",
    ]
    command += [f"PRETRAINING={folder / 'home'}", f"PRETRAINED={folder / 'pretrained'}"]
    command += [f"NETWORKS={SMALL}", "TRAINING=--epochs 1 --validation 10"]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_one_command_makes_the_shipped_encoder_and_goes_on_where_it_was(lake: Lake, tmp_path: Path) -> None:
    said, shipped = make(tmp_path), tmp_path / "pretrained"
    version, encoder = store.load(lake, packaged=shipped)
    assert version == said.splitlines()[-1]
    assert {path.name for path in shipped.iterdir()} == {"model.safetensors", "config.json", "README.md"}
    assert sum(value.numel() for value in encoder.parameters()) * 4 <= 8 * 2**20
    training = json.loads((shipped / "config.json").read_text())["training"]
    card = (shipped / "README.md").read_text()
    assert f"# PEACE encoder {version}" in card
    assert f"Trained on {training['networks']} networks" in card
    assert f"| train | {training['networks']} |" in card
    assert "peace train --epochs 1 --validation 10" in card
    assert "license: apache-2.0" in card

    shutil.rmtree(shipped)
    again = make(tmp_path)
    assert "peace train" not in again, "what is done isn't done again"
    assert again.splitlines()[-1] == version
    assert (shipped / "README.md").read_text() == card


def test_the_command_trains_by_the_settings_of_what_is_shipped() -> None:
    (given,) = re.findall(r"^TRAINING \?= ?(.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert f"    peace train {given}\n" in (store.PACKAGED / "README.md").read_text()


def test_a_lake_without_an_encoder_of_its_own_ships_none(lake: Lake, tmp_path: Path) -> None:
    with pytest.raises(store.NoEncoder):
        ship(lake, tmp_path / "pretrained")
    assert not (tmp_path / "pretrained").exists()

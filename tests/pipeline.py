"""A small lake made as a user makes one, and `peace …` as a user types it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import lancedb
import pytest
import torch
from filelock import FileLock
from safetensors.torch import save_file
from torch import nn
from typer.testing import CliRunner

from peace_pipeline.lake import Lake

PEACE = Path(sys.executable).with_name("peace")
NETWORKS = 80
_CARD = """---
pipeline_tag: tabular-classification
datasets: [{dataset}]
hyperparameters: {{recipe: {dataset}-mlp, run: '{run}', labels: 'true'}}
---
# {run}
A small network that tells {dataset}s apart.
"""


@dataclass(frozen=True)
class Answer:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)


@dataclass(frozen=True)
class Workplace:
    """A folder with a peace.toml, the directory source ``zoo`` that it names, and the lake ``home``."""

    root: Path

    @property
    def zoo(self) -> Path:
        return self.root / "zoo"

    @property
    def lake(self) -> Lake:
        return Lake.open(self.root / "home")

    def command(self, *arguments: str | Path) -> list[str]:
        """The words of a `peace` command on this lake."""
        return [str(PEACE), *map(str, arguments), "--home", str(self.root / "home")]

    def peace(self, *arguments: str | Path, code: int = 0) -> Answer:
        """Run `peace …` in this folder, in this process; fails unless it exits with ``code``."""
        from peace_pipeline.cli.app import app

        with contextlib.chdir(self.root), pytest.MonkeyPatch.context() as patch:
            patch.delenv("PEACE_HOME", raising=False)
            result = CliRunner().invoke(app, self.command(*arguments)[1:])
        return _expect(Answer(result.exit_code, result.stdout, result.stderr), code)

    def peace_alone(self, *arguments: str | Path, code: int = 0) -> Answer:
        """The same in a process of its own."""
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.root,
            capture_output=True,
            text=True,
            timeout=300,
            env=environment(),
        )
        return _expect(Answer(done.returncode, done.stdout, done.stderr), code)

    def vectors(self) -> dict[str, list[float]]:
        """Model id → vector of every model in the index."""
        rows = lancedb.connect(self.lake.index).open_table("models").search().limit(None).to_list()
        return {row["model_id"]: list(row["vector"]) for row in rows}

    def model_ids(self) -> set[str]:
        """The models in the index."""
        return set(self.vectors())

    def copy(self, root: Path) -> Workplace:
        """A copy to change."""
        shutil.copytree(self.root, root)
        return Workplace(root)


def _expect(answer: Answer, code: int) -> Answer:
    assert answer.code == code, answer
    return answer


def environment() -> dict[str, str]:
    """This process's environment without what would point `peace` elsewhere."""
    return {
        name: value for name, value in os.environ.items() if name not in ("PEACE_HOME", "DAGSTER_HOME")
    } | {"OMP_NUM_THREADS": "1"}


def write_networks(zoo: Path, start: int, count: int) -> list[str]:
    """Write small MLPs of two tasks, told apart by the scale of their weights; returns their model ids."""
    for number in range(start, start + count):
        torch.manual_seed(number)
        dataset, scale = (("cat", 0.7), ("dog", 1.4))[number % 2]
        module = nn.Sequential(*(nn.Linear(a, b) for a, b in pairwise((12, 10, 8, 4))))
        folder = zoo / f"n{number:03}"
        folder.mkdir(parents=True)
        save_file(
            {name: value * scale for name, value in module.state_dict().items()}, folder / "model.safetensors"
        )
        (folder / "config.json").write_text(json.dumps({"model_type": "mlp", "hidden_act": "relu"}))
        (folder / "README.md").write_text(_CARD.format(dataset=dataset, run=folder.name))
    return [f"directory:zoo/n{number:03}" for number in range(start, start + count)]


def build(root: Path) -> Workplace:
    """A lake of ``NETWORKS`` networks with an encoder of one epoch, an index and a report."""
    from peace_pipeline.assets.jobs import keys_from
    from peace_pipeline.definitions import Pass, defs

    place = Workplace(root)
    write_networks(place.zoo, 0, NETWORKS)
    config = root / "peace.toml"
    config.write_text('[[source]]\nkind = "directory"\npath = "zoo"\n')
    first = Pass(defs, place.lake, str(config))
    first.materialize("crawl")
    for batch in place.lake.batches():
        keys = keys_from("extract", has_encoder=False)
        first.materialize("embed_batch", partition=batch, keys=keys)
    place.peace("train", "--epochs", "1")
    place.peace("run")
    return place


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """A lake to look at and to copy, not to change; made once for all test processes."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    root = base / "workplace"
    with FileLock(base / "workplace.lock"):
        return Workplace(root) if (root / "complete").exists() else _built(root)


def _built(root: Path) -> Workplace:
    shutil.rmtree(root, ignore_errors=True)
    place = build(root)
    (root / "complete").touch()
    return place


@pytest.fixture
def own(place: Workplace, tmp_path: Path) -> Workplace:
    """A copy of the lake to change."""
    return place.copy(tmp_path / "own")

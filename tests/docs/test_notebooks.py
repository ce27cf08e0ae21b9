"""The notebooks run from their first cell to the last, in an empty folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline import environment

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names that the cells of the first steps leave behind."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PEACE_HOME", raising=False)
    names: dict[str, Any] = {"_typed": typed}
    for cell in json.loads((DOCS / "first-steps.ipynb").read_text())["cells"]:
        if cell["cell_type"] == "code":
            exec(as_python("".join(cell["source"])), names)
    return names


def as_python(source: str) -> str:
    """A cell in Python: lines that begin with ! are typed in a shell."""
    lines = (f"_typed({line[1:]!r})" if line.startswith("!") else line for line in source.split("\n"))
    return "\n".join(lines)


def typed(line: str) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(line, shell=True, check=True, capture_output=True, env=environment() | {"PATH": path})


def test_first_steps(ran: dict[str, Any]) -> None:
    assert ran["similarity"] > 0.999
    assert (ran["verdict"]["verdict"], ran["other"]["verdict"]) == ("equivalent", "unrelated")
    assert ran["hits"][0].model_id == "directory:models/mlp-0"
    assert ran["hits"][0].similarity > 0.999
    assert len(ran["index"]) == 8

"""The benchmark of encoders runs from end to end, on a tiny lake in seconds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
FAST = ("--seeds", "2", "--budget", "0.4", "--most", "0.8")
Tables = dict[str, dict[str, dict[str, Any]]]


@pytest.fixture
def measured(home: Path, tmp_path: Path) -> Any:
    """Runs one measure; gives its tables by title."""

    def run(measure: str, *options: str) -> dict[str, dict[str, Any]]:
        command = [sys.executable, "benchmarks/encoders.py", "--home", str(home), "--out", str(tmp_path)]
        subprocess.run([*command, "--measure", measure, *FAST, *options], cwd=ROOT, check=True)
        assert (tmp_path / f"{measure}.md").read_text().count("| PEACE |")
        return {table["title"]: table for table in json.loads((tmp_path / f"{measure}.json").read_text())}

    return run


def test_retrieval(measured: Any) -> None:
    tables = measured("retrieval", "--left-out", "cats")
    whole = tables["Whole zoo, final networks"]["figures"]
    heard, chance = (
        whole[name]["other architectures"]["mean"] for name in ("raw responses, softmax", "Chance")
    )
    assert heard > 0.9 > 0.7 > chance, "responses tell the task across architectures"
    held_out = tables["Held-out runs, final networks"]
    assert {"PEACE", "Layer statistics + LDA", "nfn-HNP, equal time", "learned probes, converged"} <= set(
        held_out["figures"]
    )
    assert len(held_out["figures"]["nfn-NP, converged"]["all other runs"]["seeds"]) == 2
    found = {name: held_out["figures"][name]["all other runs"]["mean"] for name in ("PEACE", "Chance")}
    lead = held_out["peace_leads_by"]["Chance"]["all other runs"]["mean"]
    assert lead == pytest.approx(found["PEACE"] - found["Chance"])
    assert "left out" in tables["Whole zoo, by data, all other runs"]["figures"]["PEACE"]

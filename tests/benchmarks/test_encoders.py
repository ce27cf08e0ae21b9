"""The benchmark of encoders runs by one command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_measure_is_written_as_json_and_markdown(home: Path, tmp_path: Path) -> None:
    command = [sys.executable, "benchmarks/encoders.py", "--home", str(home), "--out", str(tmp_path)]
    subprocess.run([*command, "--measure", "negatives", "--peers"], cwd=ROOT, check=True)
    titles = [table["title"] for table in json.loads((tmp_path / "negatives.json").read_text())]
    text = (tmp_path / "negatives.md").read_text()
    assert titles
    assert all(f"### {title}\n" in text for title in titles)
    assert "| PEACE |" in text

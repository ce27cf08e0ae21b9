"""Who waits for another process says so."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from peace_pipeline.lake.locks import alone

HOLDS = """
import sys, time
from pathlib import Path
from peace_pipeline.lake.locks import alone
with alone(Path(sys.argv[1]), "crawl"):
    print("held", flush=True)
    time.sleep(0.6)
"""


def test_waiting_is_told_and_ends(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    process = subprocess.Popen([sys.executable, "-c", HOLDS, str(lock)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    heard: list[str] = []

    def progress(done: int, total: int, note: str = "") -> None:
        heard.append(note)

    with alone(lock, "crawl", progress, patience=0.1):
        assert process.wait(10) == 0, "it was over before"
    assert heard[0] == "waiting for another crawl of this lake"

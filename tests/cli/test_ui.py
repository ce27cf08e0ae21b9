"""The UI as a user starts and ends it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest


def free_port() -> int:
    with socket.socket() as tried:
        tried.bind(("127.0.0.1", 0))
        return int(tried.getsockname()[1])


def processes_of(home: Path) -> list[int]:
    """All that have this lake's folder in their environment."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"PEACE_HOME={home}\0".encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:  # it is gone, or another user's
            continue
    return found


def answers(address: str) -> bool:
    try:
        return urllib.request.urlopen(address, timeout=5).status == 200
    except OSError:
        return False


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_whoever_ends_the_ui_ends_all_of_dagster(number: signal.Signals, code: int, tmp_path: Path) -> None:
    home, (port, pages, mlflow) = tmp_path / "home", [free_port() for _ in range(3)]
    own = tmp_path / "own"
    own.mkdir()
    (own / "gql.py").write_text(
        "raise SystemExit('what lies in the working directory is none of its modules')"
    )
    process = subprocess.Popen(
        [
            Path(sys.executable).with_name("peace"),
            *("ui", "--port", str(port), "--pages", str(pages), "--mlflow", str(mlflow)),
        ],
        cwd=own,
        env=os.environ | {"PEACE_HOME": str(home), "HOME": str(tmp_path)},
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
    )
    try:
        until = time.monotonic() + 120
        for address in (f"{port}/server_info", f"{mlflow}/health", f"{pages}/"):
            while not answers(f"http://127.0.0.1:{address}"):
                assert process.poll() is None, process.communicate()[1]
                assert time.monotonic() < until
                time.sleep(0.2)
        assert len(processes_of(home)) > 2
        process.send_signal(number)
        assert process.wait(60) == code
        until = time.monotonic() + 10
        while processes_of(home) and time.monotonic() < until:
            time.sleep(0.1)
        assert not processes_of(home)
        assert {path.name for path in tmp_path.iterdir()} == {"home", "own"}, "nothing lies outside the lake"
        assert [path.name for path in own.iterdir()] == ["gql.py"]
    finally:
        process.kill()

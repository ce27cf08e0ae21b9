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


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_whoever_ends_the_ui_ends_all_of_dagster(number: signal.Signals, code: int, tmp_path: Path) -> None:
    home, port, pages = tmp_path / "home", free_port(), free_port()
    process = subprocess.Popen(
        [Path(sys.executable).with_name("peace"), "ui", "--port", str(port), "--pages", str(pages)],
        env=os.environ | {"PEACE_HOME": str(home)},
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
    )
    try:
        until = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/server_info", timeout=5).read()
                break
            except OSError:
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
    finally:
        process.kill()

"""The UI: Dagster's webserver and daemon on the lake's instance, with the lake's pages beside them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from peace_pipeline.lake import Lake
from peace_pipeline.resources.instance import open_instance

HOST = "127.0.0.1"
WORKSPACE = Path(__file__).with_name("workspace.yaml")
"""Names the lineage, so that the runs of the command line are its runs."""


class PortTaken(Exception):
    """Something else listens on a port."""


class Stopped(Exception):
    """The UI ended by itself."""


def serve(lake: Lake, port: int, pages: int, say: Callable[[str], None]) -> None:
    """Serve until an interrupt comes: the lineage on ``port``, the lake's pages on ``pages``.

    Raises:
        PortTaken: where one of the ports is taken.
        Stopped: where Dagster ended by itself.
    """
    check_free(port, "the lineage", "--port")
    check_free(pages, "the reports", "--pages")
    open_instance(lake)
    lake.reports.mkdir(parents=True, exist_ok=True)
    with _pages(lake.reports, pages) as address:
        environment = os.environ | {
            "DAGSTER_HOME": str(lake.dagster),
            "PEACE_HOME": str(lake.root),
            "PEACE_PAGES": address,
            "PYTHONWARNINGS": "ignore",
        }
        command = [sys.executable, "-m", "dagster", "dev", "-w", str(WORKSPACE)]
        process = subprocess.Popen(
            [*command, "-h", HOST, "-p", str(port), "--log-level", "warning"],
            env=environment,
            start_new_session=True,  # a terminal's Ctrl-C is for this process, which ends all of Dagster's
        )
        say(f"lineage: http://{HOST}:{port}  reports: {address}  (Ctrl-C ends both)")
        try:
            code = process.wait()
        finally:
            _end(process)
    raise Stopped(f"the UI ended by itself, with exit code {code}")


def check_free(port: int, what: str, option: str) -> None:
    """See that nothing listens on a port.

    Raises:
        PortTaken: where something does; with what to do.
    """
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            tried.bind((HOST, port))
        except OSError as error:
            raise PortTaken(
                f"port {port} for {what} can't be had ({error.strerror}): another UI may be open there; "
                f"{option} chooses another"
            ) from error


@contextmanager
def _pages(folder: Path, port: int) -> Iterator[str]:
    """Serve a folder; its address."""
    server = ThreadingHTTPServer((HOST, port), partial(_Silent, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://{HOST}:{port}"
    finally:
        server.shutdown()
        server.server_close()


class _Silent(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def _end(process: subprocess.Popen[bytes], patience: float = 8.0) -> None:
    """End it as Ctrl-C does, so that it ends its own processes; what is left of its group then, by force."""
    with suppress(ProcessLookupError, subprocess.TimeoutExpired):
        process.send_signal(signal.SIGINT)
        process.wait(patience)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)

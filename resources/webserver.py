"""The UI: Dagster's webserver and daemon on the lake's instance, with the lake's pages and its MLflow beside them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
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

_NAMES = ("lineage", "reports", "MLflow")
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}
"""For MLflow: no word to the network, and no processes for jobs that no lake has."""


class PortTaken(Exception):
    """Something else listens on a port."""


class Stopped(Exception):
    """The UI ended by itself."""


def serve(lake: Lake, port: int, pages: int, tracking: int, say: Callable[[str], None]) -> None:
    """Serve until an interrupt comes: the lineage on ``port``, the lake's pages on ``pages``, MLflow on ``tracking``.

    Raises:
        PortTaken: where one of the ports is taken.
        Stopped: where Dagster ended by itself.
    """
    check_free(port, "the lineage", "--port")
    check_free(pages, "the reports", "--pages")
    check_free(tracking, "MLflow", "--mlflow")
    open_instance(lake)
    lake.reports.mkdir(parents=True, exist_ok=True)
    addresses = {
        name: f"http://{HOST}:{number}" for name, number in zip(_NAMES, (port, pages, tracking), strict=True)
    }
    environment = os.environ | {
        "DAGSTER_HOME": str(lake.dagster),
        "PEACE_HOME": str(lake.root),
        "PEACE_PAGES": addresses["reports"],
        "PEACE_MLFLOW": addresses["MLflow"],
        "PYTHONSAFEPATH": "1",  # no module that happens to lie in the working directory
        "PYTHONWARNINGS": "ignore",
    }
    with _pages(lake.reports, pages):
        begun: list[subprocess.Popen[bytes]] = []
        try:
            begun.append(_begin(_mlflow(lake, tracking), environment | _QUIET, lake.root))
            begun.append(_begin(_dagster(port), environment))
            said = "  ".join(f"{name}: {address}" for name, address in addresses.items())
            say(f"{said}  (Dagster and MLflow take a while to answer; Ctrl-C ends all)")
            mlflow, dagster = begun
            code = _watched(dagster, mlflow, say)
        finally:
            _end(*begun)
    raise Stopped(f"the UI ended by itself, with exit code {code}")


def _watched(
    dagster: subprocess.Popen[bytes], mlflow: subprocess.Popen[bytes], say: Callable[[str], None]
) -> int:
    """Wait until Dagster ends; its exit code. That MLflow ended before, as it does where it can't open its database,
    is said."""
    is_there = True
    while True:
        with suppress(subprocess.TimeoutExpired):
            return dagster.wait(1.0)
        if is_there and mlflow.poll() is not None:
            is_there = False
            say(f"MLflow ended by itself, with exit code {mlflow.returncode}; the rest goes on")


def _dagster(port: int) -> list[str]:
    return ["dagster", "dev", "-w", str(WORKSPACE), "-h", HOST, "-p", str(port), "--log-level", "warning"]


def _mlflow(lake: Lake, port: int) -> list[str]:
    store = ["--backend-store-uri", lake.mlflow_uri]
    return [
        "mlflow",
        "ui",
        *store,
        "-h",
        HOST,
        "-p",
        str(port),
        "-w",
        "1",
        "--uvicorn-opts",
        "--log-level warning",
    ]


def _begin(
    command: list[str], environment: dict[str, str], folder: Path | None = None
) -> subprocess.Popen[bytes]:
    """Run a Python module."""
    return subprocess.Popen(
        [sys.executable, "-m", *command],
        env=environment,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # a terminal's Ctrl-C is for this process, which ends all others
    )


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
def _pages(folder: Path, port: int) -> Iterator[None]:
    """Serve a folder."""
    server = ThreadingHTTPServer((HOST, port), partial(_Silent, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


class _Silent(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


def _end(*processes: subprocess.Popen[bytes], patience: float = 7.0) -> None:
    """End them as Ctrl-C does, so that each ends its own processes; what is left of their groups then, by force."""
    for process in processes:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)
    until = time.monotonic() + patience
    for process in processes:
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, until - time.monotonic()))
    for process in processes:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

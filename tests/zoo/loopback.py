"""An http server on this machine that serves files, says when they have not changed, and fails on request."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import TracebackType


@dataclass
class Fault:
    """What one request gets in place of the file: a status, other bytes, or a connection that breaks off."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False


class Loopback:
    """Serves ``files`` by path; ``faults`` of a path are used up first, one a request."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[Fault]] = defaultdict(list)
        self.answered: list[tuple[str, int]] = []
        loopback = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                loopback.answer(self)

            def log_message(self, format: str, *args: object) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Loopback:
        Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        path = request.path.partition("?")[0]
        fault = self._fault(path, request.headers.get("If-None-Match"))
        self.answered.append((path, fault.status))
        request.send_response(fault.status)
        for name, value in fault.headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(fault.body)))
        request.end_headers()
        request.wfile.write(fault.body[: len(fault.body) // 2] if fault.cut else fault.body)

    def _fault(self, path: str, etag: str | None) -> Fault:
        if self.faults[path]:
            return self.faults[path].pop(0)
        if path not in self.files:
            return Fault(404)
        current = f'"{hashlib.sha256(self.files[path]).hexdigest()}"'
        if etag == current:
            return Fault(304, headers={"ETag": current})
        return Fault(body=self.files[path], headers={"ETag": current})

"""The server: repositories, the routes that answer for them, and what is made to go wrong on the way."""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple, Self
from urllib.parse import parse_qs, unquote

from tests.standin_hub.answers import Answer, Refusal, Request, Span, answer
from tests.standin_hub.faults import Fault, Faults, RateLimit, rate_headers
from tests.standin_hub.repos import Repos


class Seen(NamedTuple):
    """A request that was served; status 0: the connection was closed without an answer.

    ``size`` is the length of the body that was to be sent.
    """

    time: float
    method: str
    path: str
    status: int
    size: int


class StandinHub(Repos):
    """A Hub on loopback over a folder of repositories.

    ``tokens`` says which private and gated repositories a token opens; ``faults`` makes requests fail at random;
    ``on_request`` is called with the method and path of every request before it is served.
    """

    def __init__(self, root: Path, port: int = 0) -> None:
        super().__init__(root)
        self.port = port
        self.tokens: dict[str, Collection[str]] = {}
        self.faults: Faults | None = None
        self.on_request: Callable[[str, str], None] | None = None
        self.requests: list[Seen] = []
        self._limit: RateLimit | None = None
        self._scripts: list[tuple[str, deque[Fault]]] = []
        self._server: _Server | None = None

    def __enter__(self) -> Self:
        self._server = _Server(self, self.port)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.stop()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def limit(self) -> tuple[int, float] | None:
        """How many requests are served in how many seconds; the others are answered 429."""
        return (self._limit.requests, self._limit.seconds) if self._limit else None

    @limit.setter
    def limit(self, limit: tuple[int, float] | None) -> None:
        self._limit = RateLimit(*limit) if limit else None

    def count(self, method: str | None = None) -> int:
        """How many requests were made, of all methods or one."""
        return sum(method in (None, seen.method) for seen in list(self.requests))

    def forget(self) -> None:
        """Start the list of requests anew."""
        self.requests = []

    def script(self, path: str, faults: Iterable[Fault]) -> None:
        """Give the next requests whose path, with its query, contains ``path`` these faults in turn."""
        with self._lock:
            self._scripts.append((path, deque(faults)))

    def fault_of(self, request: Request) -> Fault | None:
        """What is to go wrong with a request."""
        with self._lock:
            for path, scripted in self._scripts:
                if scripted and path in request.path:
                    return scripted.popleft()
        faults = self.faults
        return faults.draw(request.method, request.path) if faults else None

    def answer(self, request: Request, fault: Fault | None) -> Answer:
        """What is sent back for a request, before anything is cut."""
        headers = {}
        if fault and fault.kind == "429":
            return _too_many(rate_headers(request.path, -1, fault.seconds))
        if fault and fault.kind == "504":
            return Refusal(504, "", "Gateway timeout").answer
        if self._limit:
            left, seconds = self._limit.take()
            headers = rate_headers(request.path, left, seconds, (self._limit.requests, self._limit.seconds))
            if left < 0:
                return _too_many(headers)
        found = answer(self, self.endpoint, request)
        return Answer(found.status, found.headers | headers, found.body)


def _too_many(headers: dict[str, str]) -> Answer:
    refused = Refusal(429, "", "We had to rate limit you").answer
    return Answer(refused.status, refused.headers | headers, refused.body)


def _size(found: Answer) -> int:
    return found.body.size if isinstance(found.body, Span) else len(found.body)


class _Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True

    def __init__(self, hub: StandinHub, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.hub = hub
        self.connections: set[socket.socket] = set()

    def process_request(self, request: socket.socket, client_address: tuple[str, int]) -> None:  # type: ignore[override]
        self.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: socket.socket) -> None:  # type: ignore[override]
        self.connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is no error."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]

    def stop(self) -> None:
        """Stop listening and close what clients keep alive."""
        self.shutdown()
        self.server_close()
        for connection in list(self.connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Server

    def do_GET(self) -> None:
        hub, request = self.server.hub, self._request()
        if hub.on_request:
            hub.on_request(request.method, request.path)
        fault = hub.fault_of(request)
        found = hub.answer(request, fault)
        silent = fault is not None and fault.kind == "cut" and not fault.sent
        size = 0 if silent or request.method == "HEAD" else _size(found)
        status = 0 if silent else found.status
        hub.requests.append(Seen(time.monotonic(), request.method, request.path, status, size))
        if fault and fault.kind == "slow":
            time.sleep(fault.seconds)
        if silent:
            self.close_connection = True
        else:
            self._send(found, fault)

    do_HEAD = do_POST = do_GET

    def _request(self) -> Request:
        path, _, query = self.path.partition("?")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        return Request(
            method=self.command,
            path=self.path,
            parts=[unquote(part) for part in path.strip("/").split("/")],
            query=parse_qs(query, keep_blank_values=True),
            form=parse_qs(body),
            span=self.headers.get("Range"),
            opens=self.server.hub.tokens.get(token, ()) if token else None,
        )

    def _send(self, found: Answer, fault: Fault | None) -> None:
        body, size = found.body, _size(found)
        self.send_response(found.status)
        for name, value in found.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(size))
        self.end_headers()
        if fault and fault.kind == "cut":
            size, self.close_connection = int(size * fault.sent), True
        if self.command == "HEAD" or not size:
            return
        if isinstance(body, bytes):
            self.wfile.write(body[:size])
        elif body.is_weights and fault and fault.kind == "wrong_bytes":
            content = bytearray(body.read())
            content[-1] ^= 0xFF
            self.wfile.write(content)
        else:
            self.wfile.flush()
            with body.path.open("rb") as file:
                self.connection.sendfile(file, body.start, size)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing: ``hub.requests`` is the log."""

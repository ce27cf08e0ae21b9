"""Files over http(s): streamed to a temporary name, verified, and tried again where the failure may pass."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path

import requests
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    wait_exponential,
    wait_random,
)

from peace_pipeline.lake import atomic
from peace_pipeline.zoo import traffic
from peace_pipeline.zoo.source import FetchError

_ATTEMPTS = 5
_MAX_WAIT = 120.0
_BACKOFF = wait_exponential(1, max=30) + wait_random(0, 1)
_TIMEOUT = (20, 60)
_BLOCK = 1 << 20
_HEADERS = {"Accept-Encoding": "identity"}
_VALIDATORS = {"If-None-Match": "ETag", "If-Modified-Since": "Last-Modified"}
_PASSING = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,
    requests.exceptions.ContentDecodingError,
)


class _Refused(Exception):
    """The server answered with an error."""

    def __init__(self, response: requests.Response) -> None:
        super().__init__(f"{response.status_code} {response.reason}")
        self.status, self.headers = response.status_code, response.headers


class _WrongContent(Exception):
    """What arrived is not what its published digest says."""


def download(url: str, path: Path, sha256: str | None = None, *, limit: int) -> None:
    """Bring the file at ``url`` to ``path``, whole or not at all.

    ``sha256`` is the digest in hex, or its first digits; a file that doesn't match is fetched once more.

    Raises:
        FetchError: where it can't be had, doesn't match, or is larger than ``limit`` bytes.
        OSError: where it can't be written.
    """

    def attempt() -> None:
        traffic.count("GET")
        with requests.get(url, headers=_HEADERS, stream=True, timeout=_TIMEOUT) as response:
            _store(response, path, sha256, limit)

    try:
        _persistently(url, attempt)
    except _WrongContent:
        try:
            _persistently(url, attempt)
        except _WrongContent as error:
            raise FetchError(f"{url}: {error}", passing=True) from error


def refresh(url: str, path: Path, *, limit: int) -> None:
    """Bring ``path`` up to date with the file at ``url``; one conditional request where it already is.

    Raises:
        FetchError: where it can't be had, or is larger than ``limit`` bytes.
        OSError: where it can't be written.
    """
    validators = path.with_name(path.name + ".json")

    def attempt() -> None:
        earlier = json.loads(validators.read_text()) if path.exists() and validators.exists() else {}
        headers = _HEADERS | earlier
        traffic.count("GET")
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
            if response.status_code == HTTPStatus.NOT_MODIFIED:
                return
            _store(response, path, None, limit)
            found = {name: response.headers.get(header) for name, header in _VALIDATORS.items()}
        with atomic(validators) as temporary:
            temporary.write_text(json.dumps({name: value for name, value in found.items() if value}))

    _persistently(url, attempt)


def _store(response: requests.Response, path: Path, sha256: str | None, limit: int) -> None:
    if not response.ok:
        raise _Refused(response)
    digest, size = hashlib.sha256(), 0
    with atomic(path) as temporary:
        with temporary.open("wb") as stream:
            for block in response.iter_content(_BLOCK):
                size += len(block)
                if size > limit:
                    raise FetchError(f"{response.url}: larger than {limit} bytes", passing=False)
                digest.update(block)
                stream.write(block)
        if not digest.hexdigest().startswith(sha256 or ""):
            raise _WrongContent(f"sha256 begins with {digest.hexdigest()[: len(sha256 or '')]}, not {sha256}")


def _persistently(url: str, attempt: Callable[[], None]) -> None:
    retrying = Retrying(
        retry=retry_if_exception(_may_pass), wait=_pause, stop=stop_after_attempt(_ATTEMPTS), reraise=True
    )
    try:
        retrying(attempt)
    except (_Refused, requests.RequestException, UnicodeError) as error:
        raise FetchError(f"{url}: {error}", passing=_may_pass(error)) from error


def _may_pass(error: BaseException) -> bool:
    if isinstance(error, _Refused):
        return (
            error.status in (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS) or error.status >= 500
        )
    return isinstance(error, _PASSING)


def _pause(state: RetryCallState) -> float:
    """Longer after every attempt, with jitter; at least what the server asks for."""
    error = state.outcome.exception() if state.outcome else None
    asked = traffic.retry_after(error.headers.get("Retry-After", "")) if isinstance(error, _Refused) else None
    return max(min(asked or 0.0, _MAX_WAIT), _BACKOFF(state))

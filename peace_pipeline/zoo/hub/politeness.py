"""Makes every request of `huggingface_hub` in this process polite: limited in rate, retried with care, counted.

The library sends everything through one HTTP client, which it takes from a factory; this module installs a client
of its own there, so that also calls which the library doesn't retry are.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import cache, partial
from typing import Any
from urllib.parse import urlparse

import tenacity
from huggingface_hub import constants, get_session, set_client_factory
from huggingface_hub.errors import OfflineModeIsEnabled
from huggingface_hub.utils import disable_progress_bars, parse_ratelimit_headers

from peace_pipeline.zoo import traffic
from peace_pipeline.zoo.hub.rate import RateLimit
from peace_pipeline.zoo.source import SourceUnavailable

try:
    import httpx2 as httpx  # huggingface_hub 2
except ImportError:
    import httpx

log = logging.getLogger(__name__)

ATTEMPTS, LONGEST_WAIT = 6, 60.0
RETRIED = frozenset({408, 429, 500, 502, 503, 504})
_TIMEOUT = {"connect": 10.0, "read": 60.0, "write": 60.0, "pool": 60.0}
_retrying = partial(
    tenacity.Retrying,
    stop=tenacity.stop_after_attempt(ATTEMPTS),
    before_sleep=tenacity.before_sleep_log(log, logging.INFO),
    reraise=True,
)
_BACKOFF = tenacity.wait_exponential(0.5, max=LONGEST_WAIT) + tenacity.wait_random(0, 0.5)


class HubUnavailable(SourceUnavailable):
    """The Hub did not answer, however often it was asked; ``status`` is what it said last, if anything."""

    def __init__(self, url: str, reason: str, status: int | None = None) -> None:
        super().__init__(f"{url}: {reason}")
        self.status = status

    @property
    def outage(self) -> bool:
        """Whether the Hub can't be reached at all, rather than fail on what was asked."""
        return self.status in (None, 429)


class BadAnswer(HubUnavailable):
    """The Hub's answer makes no sense."""

    outage = False


def is_outage(error: Exception) -> bool:
    """Whether an error says that the Hub can't be reached at all."""
    return isinstance(error, HubUnavailable) and error.outage


class Interrupted(Exception):
    """A download that broke off."""


@dataclass(frozen=True)
class Limits:
    """The rates that hold for one endpoint: calls of its API, and of its file resolver."""

    api: RateLimit
    resolver: RateLimit

    def of(self, path: str) -> RateLimit:
        """The limit that a request to ``path`` falls under."""
        return self.resolver if "/resolve/" in path else self.api


_limits: dict[str, Limits] = {}


def limit(endpoint: str, limits: Limits) -> None:
    """From now on keep to ``limits``, or to stricter ones set before, in all requests to ``endpoint``."""
    _install()
    host = urlparse(endpoint).netloc
    strictest = min(limits, _limits.get(host, limits), key=lambda each: each.api.refill)
    _limits[host] = strictest


@cache
def _install() -> None:
    constants.HF_HUB_DISABLE_TELEMETRY = True  # it asks the public Hub about agents, whatever the endpoint
    constants.HF_HUB_DISABLE_XET = True  # its downloads would pass by this client
    hooks = get_session().event_hooks["request"]
    set_client_factory(
        lambda: _PoliteClient(event_hooks={"request": [*hooks, _before]}, follow_redirects=True)
    )
    disable_progress_bars()


def _limits_of(request: httpx.Request) -> Limits | None:
    return _limits.get(request.url.netloc.decode())


def _before(request: httpx.Request) -> None:
    """Runs before each request, redirects included."""
    if limits := _limits_of(request):
        limits.of(request.url.path).wait()
    traffic.count(request.method)


class _Refused(Exception):
    """An answer that calls for another attempt."""

    def __init__(self, status: int, wait: float | None) -> None:
        super().__init__(f"status {status}")
        self.status, self.wait = status, wait


def _may_pass(error: BaseException) -> bool:
    passing = isinstance(error, _Refused | httpx.TransportError)
    return passing and not isinstance(error, httpx.LocalProtocolError | httpx.UnsupportedProtocol)


def _told(error: Exception) -> str:
    """What an error says; one about the request itself may repeat its headers, so its kind has to do."""
    return type(error).__name__ if isinstance(error, httpx.LocalProtocolError) else one_line(error)


class _PoliteClient(httpx.Client):
    """Sends a request again while the answer is one of ``RETRIED`` or there is none."""

    def send(self, request: httpx.Request, *, stream: bool = False, **options: Any) -> httpx.Response:
        timeout = request.extensions.get("timeout") or {}
        request.extensions["timeout"] = {name: timeout.get(name) or value for name, value in _TIMEOUT.items()}
        retrying = _retrying(wait=_wait, retry=tenacity.retry_if_exception(_may_pass))
        url = str(request.url.copy_with(query=None))
        try:
            return retrying(self._attempt, request, stream=stream, **options)
        except _Refused as error:
            raise HubUnavailable(url, f"{error}, after {ATTEMPTS} attempts", error.status) from None
        except (httpx.TransportError, OfflineModeIsEnabled) as error:
            attempts = f", after {ATTEMPTS} attempts" if _may_pass(error) else ""
            raise HubUnavailable(url, f"{_told(error)}{attempts}") from None
        except httpx.RequestError as error:
            raise BadAnswer(url, _told(error)) from None

    def _attempt(self, request: httpx.Request, *, stream: bool, **options: Any) -> httpx.Response:
        response = super().send(request, stream=stream, **options)
        if response.status_code not in RETRIED:
            return response
        response.close()
        wait = _asked_wait(response)
        if response.status_code == 429 and wait and (limits := _limits_of(request)):
            limits.of(request.url.path).pause(wait)
        raise _Refused(response.status_code, wait)


def _asked_wait(response: httpx.Response) -> float | None:
    """How many seconds the server wants to be left alone; its `RateLimit` counts in whole seconds, rounded down."""
    told = parse_ratelimit_headers(response.headers)
    if response.status_code == 429 and told and told.remaining == 0:
        return told.reset_in_seconds + 1.0
    return traffic.retry_after(response.headers.get("Retry-After", ""))


def _wait(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    asked = error.wait if isinstance(error, _Refused) else None
    return _BACKOFF(state) + min(asked or 0.0, 10 * LONGEST_WAIT)


def normal(endpoint: str) -> str:
    """An address as the client writes it in requests; one that it can't make sense of as it is."""
    try:
        return str(httpx.URL(endpoint)).rstrip("/")
    except httpx.InvalidURL:
        return endpoint


def one_line(error: Exception) -> str:
    """What the client's error says, without its advice."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def session() -> httpx.Client:
    """The polite client."""
    _install()
    return get_session()


resumed = _retrying(wait=_BACKOFF, retry=tenacity.retry_if_exception_type(Interrupted)).wraps
"""Decorator for downloads: tried again when they break off, as what has begun to stream is not sent again."""

"""Files of the Hub read by byte ranges, without being downloaded."""

from __future__ import annotations

import re
from http import HTTPStatus

import numpy as np

from peace_pipeline.zoo.hub import politeness
from peace_pipeline.zoo.hub.politeness import BadAnswer, Interrupted, httpx, session
from peace_pipeline.zoo.source import FetchError

_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


class RemoteBlob:
    """A file at ``url``, pinned by its revision, of ``size`` bytes. ``transferred`` counts the bytes that were read.

    Every answer must be a partial one, of the range that was asked for, and of a file of this size.
    """

    def __init__(self, name: str, url: str, size: int, headers: dict[str, str]) -> None:
        self.name, self.size, self.transferred = name, size, 0
        self._url, self._headers = url, headers | {"Accept-Encoding": "identity"}

    def read(self, start: int, stop: int) -> np.ndarray:
        """The bytes from ``start`` up to ``stop`` (uint8).

        Raises:
            FetchError: where the Hub gives something else, or breaks off however often it is asked.
            HubUnavailable: where it doesn't answer.
        """
        try:
            return self._read(start, stop)
        except Interrupted as error:
            raise FetchError(f"{self.name}: {error}", passing=True) from error

    @politeness.resumed
    def _read(self, start: int, stop: int) -> np.ndarray:
        buffer = np.empty(stop - start, np.uint8)
        if not len(buffer):
            return buffer
        headers = self._headers | {"Range": f"bytes={start}-{stop - 1}"}
        done = 0
        try:
            with session().stream("GET", self._url, headers=headers) as response:
                self._check(response, start, stop)
                for block in response.iter_raw():
                    if done + len(block) > len(buffer):
                        raise FetchError(f"{self.name}: the Hub sends more than was asked for", passing=True)
                    buffer[done : done + len(block)] = np.frombuffer(block, np.uint8)
                    done += len(block)
                    self.transferred += len(block)
        except httpx.TransportError as error:
            raise Interrupted(politeness.one_line(error)) from error
        except httpx.RequestError as error:
            raise BadAnswer(self._url, politeness.one_line(error)) from error
        if done < len(buffer):
            raise Interrupted(f"{done:,} of {len(buffer):,} bytes")
        return buffer

    def _check(self, response: httpx.Response, start: int, stop: int) -> None:
        if response.status_code != HTTPStatus.PARTIAL_CONTENT:
            passing = response.status_code != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
            raise FetchError(
                f"{self.name}: asked for a range, the Hub answered {response.status_code}", passing=passing
            )
        match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if match is None or tuple(map(int, match.groups())) != (start, stop - 1, self.size):
            told = response.headers.get("Content-Range", "none")[:80]
            raise FetchError(
                f"{self.name}: asked for {start}-{stop - 1} of {self.size}, got {told}", passing=False
            )

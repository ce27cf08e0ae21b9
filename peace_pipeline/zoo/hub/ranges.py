"""Files of the Hub read by byte ranges, without being downloaded."""

from __future__ import annotations

from http import HTTPStatus

import numpy as np

from peace_pipeline.zoo.hub import politeness
from peace_pipeline.zoo.hub.politeness import BadAnswer, Interrupted, httpx, session
from peace_pipeline.zoo.source import FetchError


class RemoteBlob:
    """A file at ``url``, pinned by its revision, of ``size`` bytes.

    Every answer must be a partial one, of the range that was asked for, and of a file of this size. The last one is
    kept, as the parts of a fused tensor may be read one after another.
    """

    def __init__(self, name: str, url: str, size: int, headers: dict[str, str]) -> None:
        self.name, self.size = name, size
        self._last = 0, np.empty(0, np.uint8)
        self._url, self._headers = url, headers | {"Accept-Encoding": "identity"}

    def read(self, start: int, stop: int) -> np.ndarray:
        """The bytes from ``start`` up to ``stop`` (uint8).

        Raises:
            FetchError: where the Hub gives something else, or breaks off however often it is asked.
            HubUnavailable: where it doesn't answer.
        """
        first, last = self._last
        if first <= start and stop <= first + len(last):
            return last[start - first : stop - first].copy()
        try:
            last = self._read(start, stop)
        except Interrupted as error:
            raise FetchError(f"{self.name}: {error}", passing=True) from error
        self._last = start, last
        return last.copy()

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
        told = response.headers.get("Content-Range", "none")
        if told != f"bytes {start}-{stop - 1}/{self.size}":
            raise FetchError(
                f"{self.name}: asked for {start}-{stop - 1} of {self.size}, got {told[:80]}", passing=False
            )

"""Brings the files of model records to this machine, through the source that each record came from."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from peace_pipeline.lake import Lake
from peace_pipeline.zoo.record import ModelRecord
from peace_pipeline.zoo.source import (
    ConfigError,
    FetchError,
    LocalFiles,
    NotConfigured,
    Ranged,
    Source,
    ZooConfig,
    local_folder,
)

_AHEAD = 4
"""How many models are fetched at once, while the one before them is read."""


@dataclass(frozen=True)
class Fetched:
    """The folder of a model's files; ``is_part``: of what was sampled from its weights."""

    folder: Path
    is_part: bool = False


Sampler = Callable[[Ranged], None]
"""Reads a part of a model's weights by ranges and puts it into its folder; raises a :class:`FetchError`."""


class Fetcher:
    """Fetches through ``sources``; files that lie on this machine need none."""

    def __init__(self, sources: Sequence[Source] | Callable[[], Sequence[Source]] = ()) -> None:
        self._given = sources

    @cached_property
    def sources(self) -> Sequence[Source]:
        """All that were given; a function is asked for them when the first file is asked for."""
        return self._given() if callable(self._given) else self._given

    @classmethod
    def configured(cls, lake: Lake, path: str = "") -> Fetcher:
        """Through the sources of the peace.toml at ``path`` (see :meth:`ZooConfig.find`); without one, of files on
        this machine alone.

        Raises:
            ConfigError: where it can't be used.
        """
        try:
            return cls(ZooConfig.find(lake, path).build(lake))
        except NotConfigured:
            return cls()

    @classmethod
    def of(cls, lake: Lake) -> Fetcher:
        """Through the configured sources where a peace.toml can be used, else of files on this machine alone; it is
        read when the first file is asked for."""
        return cls(lambda: _usable(lake))

    def fetch(self, record: ModelRecord, sample: Sampler) -> Fetched:
        """The local folder that holds the record's files, or what ``sample`` makes of the weights where a source that
        it may have come from has a byte budget.

        Raises:
            FetchError: where this model can't be had.
        """
        owners = self.owners(record)
        for ranged in filter(None, (source.ranged(record) for source in owners)):
            sample(ranged)
            return Fetched(ranged.folder, is_part=True)
        failure = FetchError("its source is no longer in the configuration", passing=True)
        for source in owners:
            try:
                return Fetched(source.fetch(record))
            except FetchError as error:
                failure = error
        if record.uri.startswith(LocalFiles.origin):
            return Fetched(local_folder(record))
        raise failure

    @contextmanager
    def lent(self, record: ModelRecord, sample: Sampler) -> Iterator[Fetched]:
        """As :meth:`fetch`; what was brought here is given up when the block ends.

        Raises:
            FetchError: where this model can't be had.
        """
        try:
            yield self.fetch(record, sample)
        finally:
            self.release([record])

    def fetch_all(
        self, records: Iterable[ModelRecord], sample: Sampler
    ) -> Iterator[tuple[ModelRecord, Fetched | FetchError]]:
        """Each record, in order, with its folder or the reason why there is none; the next ones are fetched
        meanwhile."""
        waiting: deque[tuple[ModelRecord, Future[Fetched | FetchError]]] = deque()
        with ThreadPoolExecutor(_AHEAD, "fetch") as pool:
            for record in records:
                waiting.append((record, pool.submit(self._try, record, sample)))
                if len(waiting) > _AHEAD:
                    yield _finished(*waiting.popleft())
            while waiting:
                yield _finished(*waiting.popleft())

    def release(self, records: Iterable[ModelRecord]) -> None:
        """Give up the local copies of these records' files, where they can be had again."""
        records = list(records)
        for source in self.sources:
            source.release([record for record in records if source in self.owners(record)])

    def owners(self, record: ModelRecord) -> list[Source]:
        """The sources that the record may have come from; those of one Hub may see different parts of it."""
        return [
            source
            for source in self.sources
            if source.source == record.source
            and record.model_id.startswith(source.prefix)
            and record.uri.startswith(source.origin)
        ]

    def _try(self, record: ModelRecord, sample: Sampler) -> Fetched | FetchError:
        try:
            return self.fetch(record, sample)
        except FetchError as error:
            return error


def _usable(lake: Lake) -> Sequence[Source]:
    """The configured sources; none where they can't be used."""
    try:
        return Fetcher.configured(lake).sources
    except ConfigError:
        return ()


def _finished(
    record: ModelRecord, future: Future[Fetched | FetchError]
) -> tuple[ModelRecord, Fetched | FetchError]:
    return record, future.result()

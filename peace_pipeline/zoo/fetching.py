"""Brings the files of model records to this machine, through the source that each record came from."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from peace_pipeline.zoo.record import ModelRecord
from peace_pipeline.zoo.source import FetchError, LocalFiles, Ranged, Source, local_folder

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

    def __init__(self, sources: Sequence[Source] = ()) -> None:
        self.sources = sources

    def fetch(self, record: ModelRecord, sample: Sampler) -> Fetched:
        """The local folder that holds the record's files, or what ``sample`` makes of the weights where a source that
        it may have come from has a byte budget.

        Raises:
            FetchError: where this model can't be had.
        """
        owners = self._owners(record)
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
            source.release([record for record in records if source in self._owners(record)])

    def _owners(self, record: ModelRecord) -> list[Source]:
        """The sources that the record may have come from; those of one place may see different parts of it."""
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


def _finished(
    record: ModelRecord, future: Future[Fetched | FetchError]
) -> tuple[ModelRecord, Fetched | FetchError]:
    return record, future.result()

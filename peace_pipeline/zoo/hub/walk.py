"""One crawl of a Hub: down from the newest model, then over all of them."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from huggingface_hub import ModelInfo
from huggingface_hub.errors import HfHubHTTPError

from peace_pipeline.lake.tables import SKIPPED
from peace_pipeline.zoo.hub.cursor import Descent, Place
from peace_pipeline.zoo.hub.describing import refusal
from peace_pipeline.zoo.hub.pages import DETAILS, LARGEST_PAGE, STATE, Listing
from peace_pipeline.zoo.hub.politeness import HubUnavailable, is_outage, one_line
from peace_pipeline.zoo.record import KnownModel, ModelRecord
from peace_pipeline.zoo.source import Found, Milestone, Progress, SourceUnavailable, deleted

if TYPE_CHECKING:
    from peace_pipeline.zoo.hub.source import HuggingfaceSource

log = logging.getLogger(__name__)

OVERLAP = timedelta(hours=1)
"""How far before the newest model of the last crawl the next one begins, as times of change move while one pages."""


class Walk:
    """One crawl of one source."""

    def __init__(
        self, source: HuggingfaceSource, known: Mapping[str, KnownModel], progress: Progress | None
    ) -> None:
        self.source, self.known, self.progress = source, known, progress
        self.hub = source.hub
        self.place = Place(source.folder)
        self.listing = Listing(self.hub.endpoint, self.hub.token, source.filters)
        self.covered = self.place.covered
        self.failed: set[str] = set()
        self.looked_at = 0

    def run(self) -> Iterator[Found]:
        """Walk and sweep.

        Raises:
            SourceUnavailable: where the Hub doesn't answer, or refuses to list its models.
        """
        failures = []
        with ThreadPoolExecutor(self.source.parallel, "hub") as pool:
            if self.place.descent:
                yield from self._resume(pool, self.place.descent)
            for part in (self._head, self._sweep):
                try:
                    yield from part(pool)
                except (HfHubHTTPError, HubUnavailable) as error:
                    if is_outage(error):
                        raise
                    failures.append(one_line(error))
        if failures:
            raise SourceUnavailable(f"{self.hub.endpoint}: {'; '.join(failures)}")

    def _resume(self, pool: ThreadPoolExecutor, descent: Descent) -> Iterator[Found]:
        """The rest of a walk that an earlier crawl did not finish; where it can't go on, the sweep finds the rest."""
        try:
            yield from self._descend(pool, descent.next, datetime.fromisoformat(descent.top))
        except (HfHubHTTPError, HubUnavailable) as error:
            if is_outage(error):
                raise
            log.warning("the walk begun earlier can't go on: %s", one_line(error))

    def _head(self, pool: ThreadPoolExecutor) -> Iterator[Found]:
        """Walk down from the newest model."""
        first = self.listing.first("lastModified", DETAILS, self.source.page_size)
        yield from self._descend(pool, first, None)

    def _descend(self, pool: ThreadPoolExecutor, url: str, top: datetime | None) -> Iterator[Found]:
        """Walk down from the page at ``url`` to what is covered already; ``top`` is where the walk began."""
        floor = self.covered - OVERLAP if self.covered else None
        for page in self.listing.pages(url):
            times = [info.last_modified for info in page.models if info.last_modified]
            top = top or max(times, default=None)
            yield from self._differing(pool, page.models)
            if floor and times and min(times) < floor:
                break
            if top and page.next:
                yield Milestone(partial(self.place.descend, top, page.next))
        if top:
            self.covered = max(top, self.covered or top)
            yield Milestone(partial(self.place.arrive, self.covered))

    def _sweep(self, pool: ThreadPoolExecutor) -> Iterator[Found]:
        """List every model in an order that doesn't move, for what the walk missed and for what is gone."""
        present: set[str] = set()
        for page in self.listing.pages(self.listing.first("createdAt", STATE, LARGEST_PAGE)):
            present.update(info.id for info in page.models)
            yield from self._differing(pool, page.models, detailed=False)
        yield from self._absent(pool, present)
        self.place.list(present)

    def _absent(self, pool: ThreadPoolExecutor, present: set[str]) -> Iterator[Found]:
        """What this source listed before and lists no more, and what nobody lists: gone, or out of its filters."""
        elsewhere = self.place.listed_elsewhere()
        own = {model_id for model_id, model in self.known.items() if model.uri.startswith(self.source.origin)}
        absent = sorted(((own & self.place.listed()) | (own - elsewhere)) - present)
        for model_id, (answered, info) in zip(absent, pool.map(self._asked, absent), strict=True):
            if answered and (info is None or model_id not in elsewhere):
                yield deleted(model_id, self.known[model_id])

    def _differing(
        self, pool: ThreadPoolExecutor, models: Iterable[ModelInfo], *, detailed: bool = True
    ) -> Iterator[ModelRecord]:
        """Records of the models that are not as they are known; what is not ``detailed`` is asked for first."""
        changed = {info.id: info for info in models if not self._is_known(info)}
        found = changed.values() if detailed else pool.map(self._detailed, changed.values())
        for record in pool.map(self._record, [info for info in found if info]):
            if record.etag is None:
                self.failed.add(record.model_id)
            if not (record.status == SKIPPED and self.known.get(record.model_id) == KnownModel.of(record)):
                yield record
        self.looked_at += len(changed)
        if self.progress:
            self.progress(self.looked_at, 0)

    def _detailed(self, info: ModelInfo) -> ModelInfo | None:
        return info if self._refused(info) else self._asked(info.id)[1]

    def _asked(self, model_id: str) -> tuple[bool, ModelInfo | None]:
        """Whether the Hub answered for a model, and what: a refusal is no answer, another model's is one."""
        try:
            info = self.hub.model(model_id)
        except (HfHubHTTPError, HubUnavailable) as error:
            if is_outage(error):
                raise
            log.warning("%s: %s", model_id, one_line(error))
            return False, None
        return True, info if info and info.id == model_id else None

    def _refused(self, info: ModelInfo) -> bool:
        return refusal(info, token=bool(self.hub.token)) is not None

    def _is_known(self, info: ModelInfo) -> bool:
        if info.id in self.failed:
            return True
        model = self.known.get(info.id)
        if model is None or model.revision != info.sha:
            return False
        return model.etag == self._etag(info, model.status)

    def _etag(self, info: ModelInfo, status: str) -> str:
        """What a model's status follows from; other settings may yet bring in what is skipped."""
        state: list[object] = [info.sha, bool(info.gated), info.private, info.disabled]
        if status == SKIPPED:
            state += [bool(self.hub.token), self.source.max_bytes, self.source.formats]
        return hashlib.sha256(json.dumps(state).encode()).hexdigest()[:32]

    def _record(self, info: ModelInfo) -> ModelRecord:
        record = self.hub.record(info, self.source.formats, self.source.max_bytes)
        return replace(record, etag=self._etag(info, record.status)) if record.etag else record

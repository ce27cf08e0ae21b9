"""One crawl of a Hub: down from the newest model, then over all of them."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from huggingface_hub import ModelInfo
from huggingface_hub.errors import HfHubHTTPError

from peace_pipeline.lake.tables import SKIPPED
from peace_pipeline.zoo.hub.cursor import Cursor, Descent
from peace_pipeline.zoo.hub.describing import refusal
from peace_pipeline.zoo.hub.pages import DETAILS, LARGEST_PAGE, STATE, ModelPages
from peace_pipeline.zoo.hub.politeness import HubUnavailable, is_outage, one_line
from peace_pipeline.zoo.hub.repository import Hub
from peace_pipeline.zoo.known import Known
from peace_pipeline.zoo.record import KnownModel, ModelRecord
from peace_pipeline.zoo.source import Found, Milestone, Progress, SourceUnavailable, deleted

log = logging.getLogger(__name__)

OVERLAP = timedelta(hours=1)
"""How far before the newest model of the last crawl the next one begins, as times of change move while one pages."""


@dataclass(frozen=True)
class Selection:
    """What a source takes of a Hub, and how it asks: ``parallel`` requests at a time, ``page_size`` models a page."""

    filters: dict[str, Any]
    formats: tuple[str, ...]
    max_bytes: int
    page_size: int
    parallel: int


class Walk:
    """One crawl of the part of a Hub that a source selects; ``cursor`` is where its crawls stand."""

    def __init__(
        self, hub: Hub, selection: Selection, cursor: Cursor, known: Known, progress: Progress | None
    ) -> None:
        self.hub, self.selection, self.cursor = hub, selection, cursor
        self.known, self.progress = known, progress
        self.pages = ModelPages(hub.endpoint, hub.token, selection.filters)
        self.covered = cursor.covered
        self.failed: set[str] = set()
        self.looked_at = 0

    def run(self) -> Iterator[Found]:
        """Walk and sweep.

        Raises:
            SourceUnavailable: where the Hub doesn't answer, or refuses to list its models.
        """
        failures = []
        with ThreadPoolExecutor(self.selection.parallel, "hub") as pool:
            if self.cursor.descent:
                yield from self._resume(pool, self.cursor.descent)
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
        first = self.pages.first("lastModified", DETAILS, self.selection.page_size)
        yield from self._descend(pool, first, None)

    def _descend(self, pool: ThreadPoolExecutor, url: str, top: datetime | None) -> Iterator[Found]:
        """Walk down from the page at ``url`` to what is covered already; ``top`` is where the walk began."""
        floor = self.covered - OVERLAP if self.covered else None
        for page in self.pages.following(url):
            times = [info.last_modified for info in page.models if info.last_modified]
            top = top or max(times, default=None)
            yield from self._differing(pool, page.models)
            if floor and times and min(times) < floor:
                break
            if top and page.next:
                yield Milestone(partial(self.cursor.descend, top, page.next))
        if top:
            self.covered = max(top, self.covered or top)
            yield Milestone(partial(self.cursor.arrive, self.covered))

    def _sweep(self, pool: ThreadPoolExecutor) -> Iterator[Found]:
        """List every model in an order that doesn't move, for what the walk missed and for what is gone."""
        present: set[str] = set()
        for page in self.pages.following(self.pages.first("createdAt", STATE, LARGEST_PAGE)):
            present.update(info.id for info in page.models)
            yield from self._differing(pool, page.models, detailed=False)
        yield from self._absent(pool, present)
        self.cursor.list(present)

    def _absent(self, pool: ThreadPoolExecutor, present: set[str]) -> Iterator[Found]:
        """What this source listed before and lists no more, and what nobody lists: gone, or out of its filters."""
        elsewhere, before = self.cursor.listed_elsewhere(), self.cursor.listed()
        unlisted = (name for name in self.known.ids() if name not in present)
        known = self.known.among(name for name in unlisted if name in before or name not in elsewhere)
        absent = sorted(name for name, model in known.items() if model.uri.startswith(self.hub.origin))
        for model_id, (answered, info) in zip(absent, pool.map(self._asked, absent), strict=True):
            if answered and (info is None or model_id not in elsewhere):
                yield deleted(model_id, known[model_id])

    def _differing(
        self, pool: ThreadPoolExecutor, models: Iterable[ModelInfo], *, detailed: bool = True
    ) -> Iterator[ModelRecord]:
        """Records of the models that are not as they are known; what is not ``detailed`` is asked for first."""
        models = list(models)
        known = self.known.among(info.id for info in models)
        changed = {info.id: info for info in models if not self._is_known(info, known.get(info.id))}
        found = changed.values() if detailed else pool.map(self._detailed, changed.values())
        for record in pool.map(self._record, [info for info in found if info]):
            if record.etag is None:
                self.failed.add(record.model_id)
            if not (record.status == SKIPPED and known.get(record.model_id) == KnownModel.of(record)):
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

    def _is_known(self, info: ModelInfo, model: KnownModel | None) -> bool:
        if info.id in self.failed:
            return True
        if model is None or model.revision != info.sha:
            return False
        return model.etag == self._etag(info, model.status)

    def _etag(self, info: ModelInfo, status: str) -> str:
        """What a model's status follows from; other settings may yet bring in what is skipped."""
        state: list[object] = [info.sha, bool(info.gated), info.private, info.disabled]
        if status == SKIPPED:
            state += [bool(self.hub.token), self.selection.max_bytes, self.selection.formats]
        return hashlib.sha256(json.dumps(state).encode()).hexdigest()[:32]

    def _record(self, info: ModelInfo) -> ModelRecord:
        record = self.hub.record(info, self.selection.formats, self.selection.max_bytes)
        return replace(record, etag=self._etag(info, record.status)) if record.etag else record

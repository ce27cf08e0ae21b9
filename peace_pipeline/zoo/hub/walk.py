"""One crawl of a Hub: down from the newest model, then over all of them."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Collection, Iterable, Iterator
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
from peace_pipeline.zoo.hub.records import Repository
from peace_pipeline.zoo.hub.repository import Hub, repository_of
from peace_pipeline.zoo.known import Known
from peace_pipeline.zoo.record import KnownModel, ModelRecord
from peace_pipeline.zoo.source import Found, Milestone, Progress, SourceUnavailable, deleted

log = logging.getLogger(__name__)

LAYOUTS = 2
"""The version of how networks are found in a repository: where a newer one may find some, what is skipped is looked at
again."""

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
        self.parts = known.parts()
        """Repository → ids of its networks that are called by their paths, as far as this crawl has come."""
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
        places = map(repository_of, self.known.ids())
        unlisted = {name for name in places if name not in present}
        known = self._known(name for name in unlisted if name in before or name not in elsewhere)
        absent = {
            name: here
            for name, models in sorted(known.items())
            if (here := {key: one for key, one in models.items() if one.uri.startswith(self.hub.origin)})
        }
        for name, (answered, info) in zip(absent, pool.map(self._asked, absent), strict=True):
            if answered and (info is None or name not in elsewhere):
                yield from (deleted(model_id, model) for model_id, model in absent[name].items())

    def _known(self, repositories: Iterable[str]) -> dict[str, dict[str, KnownModel]]:
        """What is known of the models of each repository."""
        ids = {name: [name, *self.parts.get(name, ())] for name in repositories}
        known = self.known.among(model_id for some in ids.values() for model_id in some)
        return {name: {one: known[one] for one in some if one in known} for name, some in ids.items()}

    def _differing(
        self, pool: ThreadPoolExecutor, models: Iterable[ModelInfo], *, detailed: bool = True
    ) -> Iterator[ModelRecord]:
        """Records of the models that are not as they are known; what is not ``detailed`` is asked for first."""
        models = list(models)
        known = self._known(info.id for info in models)
        changed = {info.id: info for info in models if not self._is_known(info, known[info.id])}
        found = changed.values() if detailed else pool.map(self._detailed, changed.values())
        for records in pool.map(self._records, [info for info in found if info]):
            name = repository_of(records[0].model_id)
            yield from self._changes(name, records, known[name])
        self.looked_at += len(changed)
        if self.progress:
            self.progress(self.looked_at, 0)

    def _changes(
        self, name: str, records: list[ModelRecord], known: dict[str, KnownModel]
    ) -> Iterator[ModelRecord]:
        """The records of a repository that are not as they are known, and of what it holds no more."""
        ids = {record.model_id for record in records}
        failed = any(record.etag is None for record in records)
        if failed:
            self.failed.add(name)
        gone = known.keys() - ids
        if gone and failed and ids == {name}:
            return  # how its models are now, the Hub didn't say
        self.parts[name] = sorted(ids - {name})
        yield from (record for record in records if known.get(record.model_id) != KnownModel.of(record))
        yield from (deleted(model_id, known[model_id]) for model_id in sorted(gone) if not failed)

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

    def _is_known(self, info: ModelInfo, models: dict[str, KnownModel]) -> bool:
        if info.id in self.failed:
            return True
        return bool(models) and all(
            model.revision == info.sha and model.etag == self._etag(info, model.status, models)
            for model in models.values()
        )

    def _etag(self, info: ModelInfo, status: str, models: Collection[str]) -> str:
        """What a model's status follows from, and how many there are in its repository beside it; other settings may
        yet bring in what is skipped."""
        state: list[object] = [info.sha, bool(info.gated), info.private, info.disabled]
        if status == SKIPPED:
            state += [bool(self.hub.token), self.selection.max_bytes, self.selection.formats, LAYOUTS]
        if {*models} != {info.id}:
            state.append(len(models))
        return hashlib.sha256(json.dumps(state).encode()).hexdigest()[:32]

    def _records(self, info: ModelInfo) -> list[ModelRecord]:
        found = Repository(self.hub, info).records(self.selection.formats, self.selection.max_bytes)
        ids = {record.model_id for record in found}
        return [
            replace(record, etag=self._etag(info, record.status, ids)) if record.etag else record
            for record in found
        ]

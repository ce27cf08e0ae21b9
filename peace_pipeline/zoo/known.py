"""What a crawl is told of a source's models: read from the current state when it is asked for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from peace_pipeline.lake import Lake
from peace_pipeline.lake.keyed import quoted
from peace_pipeline.lake.tables import DELETED, FORGOTTEN, NEW
from peace_pipeline.zoo.current import Current
from peace_pipeline.zoo.record import KnownModel
from peace_pipeline.zoo.retries import Retries, Retry

_COLUMNS = ["model_id", "source", "revision", "uri", "etag", "status", "reason", "batch"]


class Known:
    """The models of ``source`` whose ids begin with ``prefix``, but for deleted ones; ``found`` are those that were
    found and are not stored yet.

    A model that failed for a passing reason has no etag as soon as it may be tried again, so that it is looked at.
    """

    def __init__(
        self, lake: Lake, source: str, prefix: str, found: Mapping[str, KnownModel], now: datetime
    ) -> None:
        self.current, self.retries = Current(lake), Retries(lake)
        self.source, self.prefix, self.found, self.now = source, prefix, found, now

    def among(self, model_ids: Iterable[str]) -> dict[str, KnownModel]:
        """Those of these models that are known; costs what they cost."""
        wanted = list(model_ids)
        rows = self.current.rows(wanted, _COLUMNS).to_pylist()
        known = self._models(rows, self.retries.of(wanted))
        return self._own(known | {name: self.found[name] for name in wanted if name in self.found})

    def all(self) -> dict[str, KnownModel]:
        """Every one of them."""
        rows = (row for batch in self.current.scan(_COLUMNS, self._where) for row in batch.to_pylist())
        return self._own(self._models(rows, self.retries.all()) | dict(self.found))

    def ids(self) -> Iterator[str]:
        """The id of every one that is stored, a few thousand in memory at a time."""
        for batch in self.current.scan(["model_id"], self._where):
            yield from batch["model_id"].to_pylist()

    def parts(self) -> dict[str, list[str]]:
        """The ids that name one network of several in a place, ``place#name``, by their places; deleted ones aren't
        among them. Scans the ids of all models once."""
        parts: dict[str, list[str]] = defaultdict(list)
        for rows in self.current.scan(["model_id"], f"contains(model_id, '#') AND {self._where}"):
            for model_id in rows["model_id"].to_pylist():
                parts[model_id.partition("#")[0]].append(model_id)
        return dict(parts)

    @property
    def _where(self) -> str:
        where = f"source = {quoted(self.source)} AND status <> {quoted(DELETED)}"
        if not self.prefix:
            return where
        after = self.prefix[:-1] + chr(ord(self.prefix[-1]) + 1)  # a range, which the key's index answers
        return f"model_id >= {quoted(self.prefix)} AND model_id < {quoted(after)} AND {where}"

    def _models(self, rows: Iterable[dict[str, Any]], retries: Mapping[str, Retry]) -> dict[str, KnownModel]:
        return {row["model_id"]: self._model(row, retries.get(row["model_id"])) for row in rows}

    def _model(self, row: dict[str, Any], retry: Retry | None) -> KnownModel:
        again = retry is not None and retry.batch == row["batch"] and retry.next_try <= self.now
        etag = None if again else row["etag"]
        status, reason = row["status"], row["reason"]
        if reason == FORGOTTEN:  # nothing that a source would look at again
            status, reason = NEW, None
        return KnownModel(row["source"], row["revision"], row["uri"], etag, status, reason)

    def _own(self, models: Mapping[str, KnownModel]) -> dict[str, KnownModel]:
        return {
            model_id: model
            for model_id, model in models.items()
            if model.source == self.source and model_id.startswith(self.prefix) and model.status != DELETED
        }

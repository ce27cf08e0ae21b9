"""One crawl: what every configured source has that the lake doesn't, stored in batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from peace_pipeline.lake import Lake
from peace_pipeline.lake.locks import alone
from peace_pipeline.lake.tables import DELETED, FORGOTTEN, SKIPPED
from peace_pipeline.progress import Progress
from peace_pipeline.zoo.batches import in_batches, store_batch
from peace_pipeline.zoo.current import Current
from peace_pipeline.zoo.known import Known
from peace_pipeline.zoo.record import KnownModel, ModelRecord
from peace_pipeline.zoo.source import Found, Source, ZooConfig, crawl


@dataclass
class CrawlSummary:
    """What a crawl found, by model id (once each), and the batches it stored."""

    new: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)
    batches: list[str] = field(default_factory=list)


class _Tally:
    """The last that a crawl found of each model, and whether it was there before."""

    def __init__(self) -> None:
        self.present: dict[str, bool] = {}
        self.last: dict[str, ModelRecord] = {}

    def add(self, records: Iterable[ModelRecord], current: Current) -> None:
        """Take in a batch that is not stored yet."""
        last = {record.model_id: replace(record, card=None, files=()) for record in records}
        stored = current.rows(last, ["model_id", "status"]).to_pylist()
        there = {row["model_id"] for row in stored if row["status"] != DELETED}
        self.present = {model_id: model_id in there for model_id in last} | self.present
        self.last |= last

    def summary(self, batches: list[str]) -> CrawlSummary:
        """What it comes to."""
        summary = CrawlSummary(batches=batches)
        for model_id, record in self.last.items():
            if record.status == DELETED:
                summary.deleted.append(model_id)
                continue
            (summary.changed if self.present[model_id] else summary.new).append(model_id)
            if record.status == SKIPPED:
                summary.skipped.append({"model_id": model_id, "reason": record.reason or ""})
        return summary


def lock_of_crawls(lake: Lake) -> Path:
    """The file that a crawl holds; its time is when the last one began."""
    return lake.root / ".crawl.lock"


def crawl_zoo(
    lake: Lake, config: ZooConfig, progress: Progress | None = None, now: datetime | None = None
) -> CrawlSummary:
    """Crawl every source and store what is new, changed, skipped or gone in batches.

    One crawl runs at a time over all processes of a machine. A batch is stored whole or not at all, so a crawl
    that is killed loses what it had not stored yet and the next one finds it again. ``now`` decides which models that
    failed for a passing reason are offered again.

    Raises:
        ConfigError: where a source can't be used.
        SourceUnavailable: where one could not be crawled to its end; what was found is stored.
    """
    with alone(lock_of_crawls(lake), "crawl", progress):
        lock_of_crawls(lake).touch()
        sources, current, tally, batches = config.build(lake), Current(lake), _Tally(), []
        found: dict[str, KnownModel] = {}
        now = now or datetime.now(UTC)

        def known(source: Source) -> Known:
            return Known(lake, source.source, source.prefix, found, now)

        for records in in_batches(_noted(crawl(sources, known, progress), found), config.batch_size):
            if kept := _not_forgotten(records, current):
                tally.add(kept, current)
                batches.append(store_batch(lake, kept))
            found.clear()
    return tally.summary(batches)


def _not_forgotten(records: list[ModelRecord], current: Current) -> list[ModelRecord]:
    """Records but for those of models that were forgotten at the same revision, and are still there."""
    rows = current.rows([one.model_id for one in records], ["model_id", "revision", "reason"]).to_pylist()
    forgotten = {(row["model_id"], row["revision"]) for row in rows if row["reason"] == FORGOTTEN}
    return [one for one in records if one.status == DELETED or (one.model_id, one.revision) not in forgotten]


def _noted(items: Iterable[Found], found: dict[str, KnownModel]) -> Iterator[Found]:
    """``items``, each record of which is in ``found`` before the next is asked for."""
    for item in items:
        if isinstance(item, ModelRecord):
            found[item.model_id] = KnownModel.of(item)
        yield item

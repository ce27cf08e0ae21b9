"""One crawl: what every configured source has that the lake doesn't, stored in batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from peace_pipeline.lake import Lake
from peace_pipeline.progress import Progress
from peace_pipeline.zoo.catalog import known_models, write_batches
from peace_pipeline.zoo.record import DELETED, SKIPPED, KnownModel, ModelRecord
from peace_pipeline.zoo.source import Found, ZooConfig, crawl


@dataclass
class CrawlSummary:
    """What a crawl found, by model id, and the batches it stored."""

    new: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    skipped: list[dict[str, str]] = field(default_factory=list)
    batches: list[str] = field(default_factory=list)

    def count(self, record: ModelRecord, known: Mapping[str, KnownModel]) -> None:
        """Take a record into account."""
        if record.status == DELETED:
            self.deleted.append(record.model_id)
            return
        before = known.get(record.model_id)
        (self.new if before is None or before.status == DELETED else self.changed).append(record.model_id)
        if record.status == SKIPPED:
            self.skipped.append({"model_id": record.model_id, "reason": record.reason or ""})


def crawl_zoo(lake: Lake, config: ZooConfig, progress: Progress | None = None) -> CrawlSummary:
    """Crawl every source and store what is new, changed, skipped or gone in batches.

    One crawl runs at a time over all processes of a machine. A batch is stored whole or not at all, so a crawl
    that is killed loses what it had not stored yet and the next one finds it again.

    Raises:
        ConfigError: where a source can't be used.
    """
    from filelock import FileLock

    with FileLock(lake.root / ".crawl.lock"):
        known = known_models(lake)
        summary = CrawlSummary()

        def counted(found: Iterator[Found]) -> Iterator[Found]:
            for item in found:
                if isinstance(item, ModelRecord):
                    summary.count(item, known)
                yield item

        records = counted(crawl(config.build(lake), known, progress))
        for batch, _ in write_batches(lake, records, config.batch_size):
            summary.batches.append(batch)
    return summary

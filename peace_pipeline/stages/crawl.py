"""One crawl: what every configured source has that the lake doesn't, stored in batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from peace_pipeline.lake import Lake
from peace_pipeline.lake.tables import DELETED, SKIPPED
from peace_pipeline.progress import Progress
from peace_pipeline.zoo.batches import write_batches
from peace_pipeline.zoo.current import known_models
from peace_pipeline.zoo.record import KnownModel, ModelRecord
from peace_pipeline.zoo.source import Found, ZooConfig, crawl


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

    def __init__(self, known: Mapping[str, KnownModel]) -> None:
        self.known = known
        self.last: dict[str, tuple[str, str | None]] = {}

    def counted(self, found: Iterable[Found]) -> Iterator[Found]:
        """``found``, taken into account."""
        for item in found:
            if isinstance(item, ModelRecord):
                self.last[item.model_id] = item.status, item.reason
            yield item

    def summary(self, batches: list[str]) -> CrawlSummary:
        """What it comes to."""
        summary = CrawlSummary(batches=batches)
        for model_id, (status, reason) in self.last.items():
            before = self.known.get(model_id)
            if status == DELETED:
                summary.deleted.append(model_id)
                continue
            present = before is not None and before.status != DELETED
            (summary.changed if present else summary.new).append(model_id)
            if status == SKIPPED:
                summary.skipped.append({"model_id": model_id, "reason": reason or ""})
        return summary


def crawl_zoo(lake: Lake, config: ZooConfig, progress: Progress | None = None) -> CrawlSummary:
    """Crawl every source and store what is new, changed, skipped or gone in batches.

    One crawl runs at a time over all processes of a machine. A batch is stored whole or not at all, so a crawl
    that is killed loses what it had not stored yet and the next one finds it again.

    Raises:
        ConfigError: where a source can't be used.
        SourceUnavailable: where one could not be crawled to its end; what was found is stored.
    """
    from filelock import FileLock

    with FileLock(lake.root / ".crawl.lock"):
        known = known_models(lake)
        tally = _Tally(known)
        found = tally.counted(crawl(config.build(lake), known, progress))
        batches = [batch for batch, _ in write_batches(lake, found, config.batch_size)]
    return tally.summary(batches)

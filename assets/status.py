"""How the lake stands: what `peace status` says, kept over time, with checks that warn."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg

from peace_pipeline.resources import LakeResource

LONGEST_WITHOUT_CRAWL = timedelta(hours=36)


@dg.asset(
    deps=["lancedb_index"],
    group_name="status",
    kinds={"python"},
    description="The lake at a glance, as `peace status` tells it: what is in it, in the index, stale and skipped. "
    "Plots show how it grew.",
)
def lake_status(lake: LakeResource) -> dg.MaterializeResult:
    """Look at the lake."""
    from peace_pipeline.stages.status import lake_status as status_of

    found = status_of(lake.open())
    age = _age(found.crawled)
    return dg.MaterializeResult(
        metadata={
            "models": found.models,
            "in the index": found.embedded,
            "stale": sum(found.stale.values()),
            "skipped": sum(found.skipped.values()),
            "gone": found.gone,
            **({"hours since the last crawl": round(age / timedelta(hours=1), 2)} if age else {}),
            "encoder": found.encoder or "none",
            "models by source": _table("source", found.sources),
            "stale by stage": _table("waits for the stage", found.stale),
            "skipped by reason": _table("reason", found.skipped),
        }
    )


@dg.asset_check(asset=lake_status)
def nothing_is_stale(lake: LakeResource) -> dg.AssetCheckResult:
    """Every model of the lake went through every stage. Warns: the sensor `stale_batches`, or `peace run`, does what
    is missing."""
    from peace_pipeline.stages.status import lake_status as status_of

    stale = status_of(lake.open()).stale
    return _warning(not stale, "models by the stage that they wait for", dg.MetadataValue.json(stale))


@dg.asset_check(asset=lake_status)
def index_is_of_the_current_encoder(lake: LakeResource) -> dg.AssetCheckResult:
    """The index serves embeddings of the current encoder. Warns: after a training, until every batch is embedded
    anew."""
    from peace_pipeline.encoder.store import current_version
    from peace_pipeline.index.tables import served_version

    home = lake.open()
    current, served = current_version(home), served_version(home)
    return _warning(served in (None, current), "encoders", f"current: {current}, of the index: {served}")


@dg.asset_check(asset=lake_status)
def crawled_lately(lake: LakeResource) -> dg.AssetCheckResult:
    """A crawl began in the last 36 hours. Warns: the schedule `daily_crawl` is off, its daemon doesn't run, or crawls
    fail."""
    from peace_pipeline.stages.status import lake_status as status_of

    crawled = status_of(lake.open()).crawled
    age = _age(crawled)
    recent = age is not None and age <= LONGEST_WITHOUT_CRAWL
    return _warning(recent, "last crawl", crawled.isoformat() if crawled else "none")


status_job = dg.define_asset_job(
    "status", [lake_status], description="Look how the lake stands, as `peace status` does."
)
checks = [nothing_is_stale, index_is_of_the_current_encoder, crawled_lately]


def _age(crawled: datetime | None) -> timedelta | None:
    return datetime.now(UTC) - crawled if crawled else None


def _table(name: str, counts: dict[str, int]) -> dg.MetadataValue:
    lines = [f"| {name} | models |", "|---|---:|", *(f"| {key} | {n:,} |" for key, n in counts.items())]
    return dg.MetadataValue.md("\n".join(lines) if counts else "none")


def _warning(passed: bool, name: str, value: str | dg.MetadataValue) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=passed, severity=dg.AssetCheckSeverity.WARN, metadata={name: value})

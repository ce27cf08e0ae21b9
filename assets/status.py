"""How the lake stands: what `peace status` says, kept over time, with checks that warn."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from peace_pipeline.resources import LakeResource

if TYPE_CHECKING:
    from peace_pipeline.stages.status import Status

LONGEST_WITHOUT_CRAWL = timedelta(hours=36)
_CHECKS = {
    "nothing_is_stale": "Every model of the lake went through every stage. Warns: the sensor `stale_batches`, or "
    "`peace run`, does what is missing.",
    "index_is_of_the_current_encoder": "The index serves embeddings of the current encoder. Warns: after a training, "
    "until every batch is embedded anew.",
    "crawled_lately": "A crawl began in the last 36 hours. Warns: the schedule `daily_crawl` is off, its daemon "
    "doesn't run, or crawls fail.",
}


@dg.asset(
    deps=["lancedb_index"],
    group_name="status",
    kinds={"python"},
    description="The lake at a glance, as `peace status` tells it: what is in it, in the index, stale and skipped. "
    "Plots show how it grew.",
    check_specs=[
        dg.AssetCheckSpec(name, asset="lake_status", description=words) for name, words in _CHECKS.items()
    ],
)
def lake_status(lake: LakeResource) -> dg.MaterializeResult:
    """Look at the lake."""
    from peace_pipeline.stages.status import lake_status as status_of

    found = status_of(lake.open())
    age = datetime.now(UTC) - found.crawled if found.crawled else None
    return dg.MaterializeResult(
        metadata={
            "models": found.models,
            "in the index": found.embedded,
            "stale": sum(found.stale.values()),
            "skipped": sum(found.skipped.values()),
            "gone": found.gone,
            **({"hours since the last crawl": round(age / timedelta(hours=1), 2)} if age else {}),
            "encoder": found.encoder or "none",
            "models by source": table_of("source", found.sources),
            "stale by stage": table_of("waits for the stage", found.stale),
            "skipped by reason": table_of("reason", found.skipped),
        },
        check_results=list(_warnings(found, age)),
    )


def _warnings(found: Status, age: timedelta | None) -> Iterator[dg.AssetCheckResult]:
    yield _warning(
        "nothing_is_stale",
        not found.stale,
        "models by the stage that they wait for",
        dg.MetadataValue.json(found.stale),
    )
    encoders = f"current: {found.encoder}, of the index: {found.indexed_by}"
    is_current = found.indexed_by in (None, found.encoder)
    yield _warning("index_is_of_the_current_encoder", is_current, "encoders", encoders)
    is_recent = age is not None and age <= LONGEST_WITHOUT_CRAWL
    last = found.crawled.isoformat() if found.crawled else "none"
    yield _warning("crawled_lately", is_recent, "last crawl", last)


status_job = dg.define_asset_job(
    "status", [lake_status], description="Look how the lake stands, as `peace status` does."
)


def table_of(name: str, counts: dict[str, int]) -> dg.MetadataValue:
    """Metadata: a table of Markdown, whatever the names hold."""
    cells = [(key.replace("|", r"\|"), number) for key, number in counts.items()]
    lines = [f"| {name} | models |", "|---|---:|", *(f"| {key} | {number:,} |" for key, number in cells)]
    return dg.MetadataValue.md("\n".join(lines) if counts else "none")


def _warning(name: str, passed: bool, what: str, value: str | dg.MetadataValue) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=name, passed=passed, severity=dg.AssetCheckSeverity.WARN, metadata={what: value}
    )

"""Stage 1: the crawl."""

from collections import Counter
from collections.abc import Iterator

import dagster as dg

from peace_pipeline.assets.catalog import rows
from peace_pipeline.assets.interrupts import unretried
from peace_pipeline.assets.partitions import register
from peace_pipeline.assets.telling import telling
from peace_pipeline.resources import LakeResource, ZooResource

_REASONS = 20
RETRY = dg.RetryPolicy(max_retries=2, delay=5, backoff=dg.Backoff.EXPONENTIAL)


@dg.asset(group_name="zoo", kinds={"python", "parquet"}, retry_policy=RETRY, output_required=False)
def zoo_crawl(
    context: dg.AssetExecutionContext, lake: LakeResource, zoo: ZooResource
) -> Iterator[dg.MaterializeResult]:
    """New and changed models of every configured source, in batches; each batch becomes a partition.

    A crawl that finds nothing materializes nothing.
    """
    from peace_pipeline.stages.crawl import crawl_zoo
    from peace_pipeline.zoo import ConfigError, traffic
    from peace_pipeline.zoo.source import SourceUnavailable

    home, before = lake.open(), traffic.sent()
    with unretried():
        try:
            summary = crawl_zoo(home, zoo.load(home), telling(context, "Crawling"))
        except (ConfigError, SourceUnavailable) as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        finally:
            register(context.instance, home)
    requests = dict(traffic.sent() - before)
    if not summary.batches:
        context.log.info(f"nothing new, changed or gone; requests: {requests}")
        return
    yield dg.MaterializeResult(
        metadata={
            "new": len(summary.new),
            "changed": len(summary.changed),
            "deleted": len(summary.deleted),
            "skipped": len(summary.skipped),
            "reasons": dg.MetadataValue.json(_reasons(summary.skipped)),
            "batches": dg.MetadataValue.json(summary.batches),
            "requests": sum(requests.values()),
            **rows(*map(home.zoo, summary.batches)),
        }
    )


def _reasons(skipped: list[dict[str, str]]) -> dict[str, int]:
    """How many models were skipped for each kind of reason, the most frequent first."""
    kinds = Counter(row["reason"].partition(":")[0] for row in skipped)
    return dict(kinds.most_common(_REASONS))

"""The sensor that embeds every batch which is missing, failed or outdated."""

from __future__ import annotations

import time
from collections.abc import Iterator

import dagster as dg

from peace_pipeline.assets.jobs import batch_job, keys_from
from peace_pipeline.assets.partitions import register
from peace_pipeline.resources import LakeResource
from peace_pipeline.resources.instance import bury_dead_runs

_ENCODER_TAG = "peace/encoder"
_LONGEST_WAIT = 24 * 3600


@dg.sensor(
    job=batch_job,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Every 30 seconds: runs what is missing, failed or outdated of each batch, from its first missing "
    "stage on. A batch that failed is tried again after one minute, then two, four, … up to a day.",
)
def stale_batches(context: dg.SensorEvaluationContext, lake: LakeResource) -> Iterator[dg.RunRequest]:
    """Compares the batches with what lies in the lake and runs whatever is missing.

    A batch whose run failed is tried again after one minute, then two, four, … up to a day.
    """
    from peace_pipeline.encoder.store import current_version
    from peace_pipeline.stages.staleness import stale_batches as stale

    home = lake.open()
    bury_dead_runs(context.instance)
    version, batches = current_version(home), stale(home)
    if batches:
        register(context.instance, home)
    for batch, stage in batches.items():
        if _ready(context.instance, batch, version):
            yield dg.RunRequest(
                partition_key=batch,
                asset_selection=keys_from(stage, has_encoder=version is not None),
                tags={_ENCODER_TAG: version or "none"},
            )


def _ready(instance: dg.DagsterInstance, batch: str, version: str | None) -> bool:
    """Whether no run of the batch is under way and its last failure is long enough ago."""
    tags = {"dagster/partition": batch}
    active = [
        dg.DagsterRunStatus.QUEUED,
        dg.DagsterRunStatus.NOT_STARTED,
        dg.DagsterRunStatus.STARTING,
        dg.DagsterRunStatus.STARTED,
        dg.DagsterRunStatus.CANCELING,
    ]
    if instance.get_runs_count(dg.RunsFilter(tags=tags, statuses=active)):
        return False
    failed = instance.get_run_records(
        dg.RunsFilter(tags=tags | {_ENCODER_TAG: version or "none"}, statuses=[dg.DagsterRunStatus.FAILURE])
    )
    if not failed:
        return True
    since = time.time() - max(record.update_timestamp.timestamp() for record in failed)
    return since > min(60 * 2 ** (len(failed) - 1), _LONGEST_WAIT)

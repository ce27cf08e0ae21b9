"""Schedules: what runs every day."""

from __future__ import annotations

import dagster as dg

from peace_pipeline.assets.jobs import collection_job, crawl_job
from peace_pipeline.assets.status import status_job

daily_crawl = dg.ScheduleDefinition(
    name="daily_crawl",
    job=crawl_job,
    cron_schedule="0 3 * * *",
    description="Crawls every source at 03:00; what it finds, the sensor stale_batches embeds.",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
daily_collection = dg.ScheduleDefinition(
    name="daily_collection",
    job=collection_job,
    cron_schedule="0 5 * * *",
    description="Deletes what nobody needs any more at 05:00, as `peace gc` does.",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
hourly_status = dg.ScheduleDefinition(
    name="hourly_status",
    job=status_job,
    cron_schedule="0 * * * *",
    description="Looks every hour how the lake stands, as `peace status` does, and warns of what is stale or late.",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)

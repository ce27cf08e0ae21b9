"""Schedules: what runs every day."""

from __future__ import annotations

import dagster as dg

from peace_pipeline.assets.jobs import collection_job, crawl_job

daily_crawl = dg.ScheduleDefinition(
    name="daily_crawl",
    job=crawl_job,
    cron_schedule="0 3 * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
daily_collection = dg.ScheduleDefinition(
    name="daily_collection",
    job=collection_job,
    cron_schedule="0 5 * * *",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)

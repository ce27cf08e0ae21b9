"""The lake's Dagster instance: the same for the command line and the UI."""

from __future__ import annotations

import os
import shutil
import socket
from importlib.resources import files

import dagster as dg

from peace_pipeline.lake import Lake

PROCESS_TAG = "peace/process"


def open_instance(lake: Lake) -> dg.DagsterInstance:
    """The instance under the lake, made at first use."""
    lake.dagster.mkdir(parents=True, exist_ok=True)
    config = lake.dagster / "dagster.yaml"
    if not config.exists():
        shutil.copy(str(files("resources") / "dagster.yaml"), config)
    return dg.DagsterInstance.from_config(str(lake.dagster))


def process_tag() -> dict[str, str]:
    """A run tag that names this process, so that its death can be noticed."""
    return {PROCESS_TAG: f"{socket.gethostname()}:{os.getpid()}"}


def bury_dead_runs(instance: dg.DagsterInstance) -> None:
    """Mark as failed the runs whose process on this machine is gone, and free the pool slots of finished runs.

    A `peace run` that was killed leaves both behind; nothing else in Dagster notices.
    """
    unfinished = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.NOT_STARTED]
    for run in instance.get_runs(dg.RunsFilter(statuses=unfinished)):
        host, _, pid = run.tags.get(PROCESS_TAG, "").rpartition(":")
        if host == socket.gethostname() and not _alive(int(pid)):
            instance.report_run_failed(run, f"its process {pid} is gone")
    storage = instance.event_log_storage
    for pool in storage.get_concurrency_keys():
        pool_info = storage.get_concurrency_info(pool)
        for run_id in pool_info.active_run_ids | pool_info.pending_run_ids:
            holder = instance.get_run_by_id(run_id)
            if holder is None or holder.is_finished:
                storage.free_concurrency_slots_for_run(run_id)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

"""The lake's Dagster instance: the same for the command line and the UI."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.definitions.repository_definition.valid_definitions import SINGLETON_REPOSITORY_NAME
from dagster._core.instance.ref import InstanceRef
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin

from peace_pipeline.interrupts import before_the_end, this_process
from peace_pipeline.lake import Lake

PROCESS_TAG = ".dagster/peace_process"
"""Names the process of a run; the UI shows no tags of this prefix."""
_EARLIER_TAG = "peace/process"
"""The same in lakes of an earlier version."""
_COMMAND_TAG = "peace"
"""Reads in the list of runs as what was typed."""
_SERVER_TAG = ".dagster/grpc_info"
"""Dagster's tag that names the code server of a run; one reached by a socket is on this machine."""


_UNFINISHED = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.NOT_STARTED]
_NEEDED = 1 << 16
"""Bytes without which there is no use in beginning."""
CODE_LOCATION = "peace_pipeline"
"""What workspace.yaml calls the lineage."""
_OURS = {
    "instance_class": {"module": "peace_pipeline.resources.instance", "class": "LakeInstance"},
    "compute_logs": {
        "module": "dagster._core.storage.noop_compute_log_manager",
        "class": "NoOpComputeLogManager",
    },
}
"""Of this process's runs: the UI knows them, and what their steps print is not captured (that takes processes beside
it, which don't bear a Ctrl-C)."""


class LakeInstance(dg.DagsterInstance):
    """An instance whose runs belong to the lineage that the UI serves: its timeline shows them, it runs them again."""

    @classmethod
    def config_schema(cls) -> dict[str, Any]:
        """Nothing beyond Dagster's own."""
        return {}

    @classmethod
    def config_defaults(cls, base_dir: str) -> dict[str, Any]:
        """Dagster's own."""
        return dict(InstanceRef.config_defaults(base_dir))

    def create_run_for_job(self, job_def: dg.JobDefinition, *positional: Any, **named: Any) -> dg.DagsterRun:
        """As Dagster does, with where the job is defined."""
        location = RegisteredCodeLocationOrigin(CODE_LOCATION)
        repository = RemoteRepositoryOrigin(location, SINGLETON_REPOSITORY_NAME)
        origin = {"remote_job_origin": RemoteJobOrigin(repository, job_def.name)}
        return super().create_run_for_job(job_def, *positional, **(origin | named))


def open_instance(lake: Lake) -> dg.DagsterInstance:
    """The instance under the lake, made at first use.

    Raises:
        OSError: where the lake can't be written to.
    """
    with tempfile.TemporaryFile(
        dir=lake.root
    ) as file:  # a disk's refusal, before SQLite says it in other words
        file.write(bytes(_NEEDED))
    lake.dagster.mkdir(parents=True, exist_ok=True)
    config = lake.dagster / "dagster.yaml"
    if not config.exists():
        shutil.copy(str(files("peace_pipeline.resources") / "dagster.yaml"), config)
    return dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(lake.dagster), overrides=_OURS))


def process_tags() -> dict[str, str]:
    """Run tags that name this process, so that its death can be noticed, and what was typed."""
    program, *words = sys.argv
    typed = words if Path(program).name == "peace" else sys.argv
    return {PROCESS_TAG: this_process(), _COMMAND_TAG: shlex.join(typed)}


def _process_tag(run: dg.DagsterRun) -> str:
    """The process that a run was begun in; one that the UI executes again has the tags of the first."""
    tags = {} if run.parent_run_id else run.tags
    return tags.get(PROCESS_TAG) or tags.get(_EARLIER_TAG, "")


@contextmanager
def canceled_by_interrupts(instance: dg.DagsterInstance) -> Iterator[None]:
    """Around runs of this process: one that an interrupt leaves unfinished is marked as canceled."""

    def cancel() -> None:
        for run in instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED)):
            if _process_tag(run) == this_process():
                instance.report_run_canceled(run, "interrupted")

    with before_the_end(cancel):
        yield


def bury_dead_runs(instance: dg.DagsterInstance) -> None:
    """Mark as failed the runs whose process on this machine is gone, and free the pool slots of finished runs.

    A `peace run` or a `make ui` that was killed leaves both behind; nothing else in Dagster notices.
    """
    for run in instance.get_runs(dg.RunsFilter(statuses=_UNFINISHED)):
        pid = _process_of(instance, run)
        if pid is not None and not _alive(pid):
            instance.report_run_failed(run, f"its process {pid} is gone")
    storage = instance.event_log_storage
    for pool in storage.get_concurrency_keys():
        pool_info = storage.get_concurrency_info(pool)
        for run_id in pool_info.active_run_ids | pool_info.pending_run_ids:
            holder = instance.get_run_by_id(run_id)
            if holder is None or holder.is_finished:
                storage.free_concurrency_slots_for_run(run_id)


def _process_of(instance: dg.DagsterInstance, run: dg.DagsterRun) -> int | None:
    """The process of a run, where it is one of this machine: by our tag, else by what the run itself logged."""
    host, _, pid = _process_tag(run).rpartition(":")
    if pid:
        return int(pid) if host == socket.gethostname() else None
    if '"socket": "' not in run.tags.get(_SERVER_TAG, ""):
        return None
    started = instance.get_records_for_run(run.run_id, of_type=dg.DagsterEventType.ENGINE_EVENT).records
    messages = (re.search(r"\(pid: (\d+)\)", record.event_log_entry.user_message) for record in started)
    pids = [int(found[1]) for found in messages if found]
    return pids[-1] if pids else None


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

"""The runs of a lake: whose they are, and what becomes of those whose process is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest
import yaml

from peace_pipeline.definitions import defs
from peace_pipeline.lake import Lake
from peace_pipeline.resources.instance import PROCESS_TAG, bury_dead_runs, open_instance
from peace_pipeline.resources.webserver import WORKSPACE
from tests.pipeline import Workplace, place

__all__ = ["place"]


def test_runs_of_the_command_line_are_runs_of_the_lineage_that_the_ui_serves(place: Workplace) -> None:
    workspace = yaml.safe_load(WORKSPACE.read_text())["load_from"][0]["python_module"]
    origins = [run.remote_job_origin for run in open_instance(place.lake).get_runs()]
    assert {origin.job_name for origin in origins} >= {"crawl", "embed_batch", "train", "status"}
    assert {origin.repository_origin.get_label() for origin in origins} == {
        f"__repository__@{workspace['location_name']}"
    }


def test_runs_of_the_command_line_say_what_was_typed_and_can_be_executed_anywhere(place: Workplace) -> None:
    for run in open_instance(place.lake).get_runs(dg.RunsFilter(job_name="crawl")):
        assert run.tags["peace"]
        resources = run.run_config["resources"]
        assert resources["lake"]["config"]["home"] == str(place.lake.root)
        assert resources["zoo"]["config"]["config"] == str(place.root / "peace.toml")


def test_dead_runs_are_buried_and_their_pool_slots_freed(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    place = Workplace(tmp_path)
    instance = open_instance(place.lake)
    job = defs.resolve_job_def("embed_batch")
    host = os.uname().nodename
    dead, earlier, alive, again = (
        instance.create_run_for_job(
            job, tags={tag: f"{host}:{pid}"}, status=dg.DagsterRunStatus.STARTED, **first
        )
        for pid, tag, first in (
            (process.pid, PROCESS_TAG, {}),
            (process.pid, "peace/process", {}),
            (os.getpid(), PROCESS_TAG, {}),
            (process.pid, PROCESS_TAG, {"parent_run_id": "first", "root_run_id": "first"}),
        )
    )
    storage = instance.event_log_storage
    storage.set_concurrency_slots("lancedb", 1)
    assert storage.claim_concurrency_slot("lancedb", dead.run_id, "lancedb_index").is_claimed
    bury_dead_runs(instance)
    statuses = [instance.get_run_by_id(run.run_id).status for run in (dead, earlier, alive, again)]
    failed, going_on = dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.STARTED
    assert statuses == [failed, failed, going_on, going_on]
    assert storage.claim_concurrency_slot("lancedb", alive.run_id, "lancedb_index").is_claimed


BEGINS = """
import sys, time
from pathlib import Path
import dagster as dg
from peace_pipeline.interrupts import answered
from peace_pipeline.lake import Lake
from peace_pipeline.lake.tables import TABLES
from peace_pipeline.resources.instance import canceled_by_interrupts, open_instance, process_tags

@dg.op
def step():
    while True:
        try:
            print("begun", flush=True)
            time.sleep(60)
        except BaseException:
            if sys.argv[2] == "1":
                raise

@dg.job
def job():
    step()

with answered():
    instance = open_instance(Lake(Path(sys.argv[1])))
    with canceled_by_interrupts(instance):
        job.execute_in_process(instance=instance, tags=process_tags(), raise_on_error=False)
"""


@pytest.mark.parametrize(("signals", "status"), [(1, "FAILURE"), (2, "CANCELED")])
def test_an_interrupt_leaves_no_run_that_counts_as_going_on(lake: Lake, signals: int, status: str) -> None:
    """Not even the second one, which ends a process whatever it is doing."""
    command = [sys.executable, "-c", BEGINS, str(lake.root), str(signals)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "begun\n"
    for _ in range(signals):
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
    process.communicate(timeout=60)
    assert process.returncode == 130
    with open_instance(lake) as instance:
        (run,) = instance.get_runs()
    assert run.status == dg.DagsterRunStatus[status]

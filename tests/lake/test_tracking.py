"""MLflow's runs end as what they record ended, and their files lie in the lake, wherever that is."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest

from peace_pipeline.lake import Lake
from peace_pipeline.lake.tracking import bury_dead_runs, experiment, is_run, recorded


def status(lake: Lake, run_id: str) -> str:
    return mlflow.MlflowClient(lake.mlflow_uri).get_run(run_id).info.status


def test_a_run_ends_as_its_block(lake: Lake) -> None:
    with recorded(lake, "trials", "one", {"colour": "red"}) as good:
        mlflow.log_metric("figure", 1.0)
        mlflow.log_text("words", "words.txt")
        assert status(lake, good) == "RUNNING"
    run = mlflow.MlflowClient(lake.mlflow_uri).get_run(good)
    assert (run.info.status, run.info.run_name, run.data.tags["colour"]) == ("FINISHED", "one", "red")
    assert run.data.metrics == {"figure": 1.0}
    assert [path.read_text() for path in lake.mlflow.rglob("words.txt")] == ["words"]
    for error, expected in ((ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")):
        with pytest.raises(error), recorded(lake, "trials", "two") as bad:
            raise error
        assert status(lake, bad) == expected
    with recorded(lake, "trials", "two", run_id=bad) as again:
        assert again == bad
        assert status(lake, bad) == "RUNNING"
    assert status(lake, bad) == "FINISHED"


BEGINS = """
import sys
from pathlib import Path
import mlflow
from peace_pipeline.interrupts import answered
from peace_pipeline.lake import Lake
from peace_pipeline.lake.tracking import recorded
started = mlflow.start_run
def start_run(*given, **named):
    started(*given, **named)
    print("begun", flush=True)
    import time
    time.sleep(60)
mlflow.start_run = start_run
with answered(), recorded(Lake(Path(sys.argv[1])), "trials", "one"):
    pass
"""
TELLS_OF_IT = """
import sys
import time
from pathlib import Path
from peace_pipeline.interrupts import answered
from peace_pipeline.lake import Lake
from peace_pipeline.lake.tracking import recorded
with answered(), recorded(Lake(Path(sys.argv[1])), "trials", "one"):
    try:
        print("begun", flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        raise ValueError("another error") from None
"""


@pytest.mark.parametrize(("script", "signals"), [(BEGINS, 1), (BEGINS, 2), (TELLS_OF_IT, 1)])
def test_an_interrupt_at_any_moment_leaves_no_run_that_counts_as_running(
    script: str, signals: int, lake: Lake
) -> None:
    command = [sys.executable, "-c", script, str(lake.root)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "begun\n"
    for _ in range(signals):
        process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    (run,) = mlflow.MlflowClient(lake.mlflow_uri).search_runs([experiment(lake, "trials")])
    assert run.info.status == "KILLED"


def test_runs_that_no_process_works_on(lake: Lake) -> None:
    with recorded(lake, "trials", "done") as done:
        pass
    client = mlflow.MlflowClient(lake.mlflow_uri)
    dead = client.create_run(experiment(lake, "trials")).info.run_id
    bury_dead_runs(lake, "trials")
    assert (status(lake, dead), status(lake, done)) == ("KILLED", "FINISHED")


def test_a_lake_that_was_copied_keeps_its_own_files(lake: Lake, tmp_path: Path) -> None:
    with recorded(lake, "trials", "one") as before:
        mlflow.log_text("old", "words.txt")
    copy = Lake.open(tmp_path / "copy")
    shutil.copytree(lake.root, copy.root, dirs_exist_ok=True)
    assert is_run(lake, "trials", before)
    assert not is_run(copy, "trials", before)
    assert not is_run(copy, "trials", "nobody")
    with recorded(copy, "trials", "two"):
        mlflow.log_text("new", "words.txt")
    assert [path.read_text() for path in lake.mlflow.rglob("words.txt")] == ["old"]
    assert sorted(path.read_text() for path in copy.mlflow.rglob("words.txt")) == ["new", "old"]
    assert status(copy, before) == "FINISHED", "what it was is still there"


RECORDS = """
import sys
from pathlib import Path
from peace_pipeline.lake import Lake
from peace_pipeline.lake.tracking import recorded
with recorded(Lake.open(sys.argv[1]), "trials", "one"):
    import mlflow
    mlflow.log_text("words", "words.txt")
"""


def test_nothing_lies_outside_the_lake(tmp_path: Path) -> None:
    lake, outside = tmp_path / "lake", tmp_path / "outside"
    outside.mkdir()
    environment = os.environ | {"HOME": str(outside)}
    environment.pop("MLFLOW_DISABLE_TELEMETRY", None)
    environment.pop("XDG_CONFIG_HOME", None)
    subprocess.run([sys.executable, "-c", RECORDS, str(lake)], cwd=outside, env=environment, check=True)
    assert list(outside.rglob("*")) == []
    assert list(lake.rglob("words.txt"))

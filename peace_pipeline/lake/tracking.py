"""MLflow's records of trainings and reports: a database and a folder of files, both under the lake's root."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from peace_pipeline.interrupts import before_the_end, is_received, this_process
from peace_pipeline.lake.root import Lake

RUNNING, FAILED, KILLED = "RUNNING", "FAILED", "KILLED"
_PROCESS = "process"
"""The tag that says which process records a run."""
DESCRIPTION = "mlflow.note.content"
"""The tag that MLflow shows as the description of a run."""
_KIND = {"mlflow.experimentKind": "custom_model_development"}
"""What MLflow's UI shows of an experiment: trainings, no traces of agents."""
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # it keeps a file in the user's home


def experiment(lake: Lake, name: str) -> str:
    """Id of the lake's experiment of this name, made at first use.

    One whose files lie elsewhere, as it is where the lake was moved or copied, is put aside under another name.
    """
    from mlflow import MlflowClient

    client, files = MlflowClient(lake.mlflow_uri), (lake.mlflow / name).as_uri()
    found = client.get_experiment_by_name(name)
    if found and found.artifact_location == files:
        return found.experiment_id
    if found:
        client.rename_experiment(found.experiment_id, f"{name} ({found.experiment_id}, files elsewhere)")
    return client.create_experiment(name, artifact_location=files, tags=_KIND)


@contextmanager
def recorded(
    lake: Lake, name: str, run_name: str, tags: Mapping[str, str] | None = None, run_id: str | None = None
) -> Iterator[str]:
    """Around what a new run of an experiment records, or what goes on with ``run_id``; gives its id.

    It is FINISHED at the end, FAILED after an error and KILLED after an interrupt, whenever that comes. Within the
    block MLflow's own functions write to it.
    """
    import mlflow

    mlflow.set_tracking_uri(lake.mlflow_uri)
    own, number = this_process(), experiment(lake, name)
    begun = [run_id] if run_id else []

    def kill() -> None:
        client = mlflow.MlflowClient(lake.mlflow_uri)
        for each in begun or _running(lake, name, own):
            client.set_terminated(each, KILLED)

    try:
        with before_the_end(kill):
            run = mlflow.start_run(run_id, number, run_name, tags={**(tags or {}), _PROCESS: own})
            begun = [run.info.run_id]
            yield run.info.run_id
            begun = []
            mlflow.end_run()
    except BaseException as error:
        is_failure = isinstance(error, Exception) and not is_received()
        mlflow.end_run(FAILED if is_failure else KILLED)
        raise


def bury_dead_runs(lake: Lake, name: str) -> None:
    """Mark as KILLED the runs of an experiment that still count as running; for a process that alone may run one."""
    from mlflow import MlflowClient

    for run_id in _running(lake, name):
        MlflowClient(lake.mlflow_uri).set_terminated(run_id, KILLED)


def _running(lake: Lake, name: str, process: str | None = None) -> list[str]:
    """Ids of the runs of an experiment that count as running, all or those of a process."""
    from mlflow import MlflowClient

    wanted = f"attributes.status = '{RUNNING}'"
    if process:
        wanted += f" and tags.{_PROCESS} = '{process}'"
    found = MlflowClient(lake.mlflow_uri).search_runs([experiment(lake, name)], wanted)
    return [run.info.run_id for run in found]


def is_run(lake: Lake, name: str, run_id: str) -> bool:
    """Whether the lake's experiment has a run of this id."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        return MlflowClient(lake.mlflow_uri).get_run(run_id).info.experiment_id == experiment(lake, name)
    except MlflowException:
        return False

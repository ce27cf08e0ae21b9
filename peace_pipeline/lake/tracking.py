"""MLflow's records of trainings and reports: a database and a folder of files, both under the lake's root."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from peace_pipeline.interrupts import before_the_end, this_process
from peace_pipeline.lake.root import Lake

RUNNING, FAILED, KILLED = "RUNNING", "FAILED", "KILLED"
_PROCESS = "process"
"""The tag that says which process records a run."""


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
    return client.create_experiment(name, artifact_location=files)


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
    with before_the_end(partial(bury_dead_runs, lake, name, own)):
        if run_id:
            mlflow.MlflowClient().set_tag(run_id, _PROCESS, own)
        try:
            run = mlflow.start_run(run_id, number, run_name, tags={**(tags or {}), _PROCESS: own})
            yield run.info.run_id
            mlflow.end_run()
        except Exception:
            mlflow.end_run(FAILED)
            raise
        except BaseException:
            mlflow.end_run(KILLED)
            raise


def bury_dead_runs(lake: Lake, name: str, process: str | None = None) -> None:
    """Mark as KILLED the runs of an experiment that still count as running, those of a ``process`` or, for one that
    alone may run any, all."""
    from mlflow import MlflowClient

    client, wanted = MlflowClient(lake.mlflow_uri), f"attributes.status = '{RUNNING}'"
    if process:
        wanted += f" and tags.{_PROCESS} = '{process}'"
    for run in client.search_runs([experiment(lake, name)], wanted):
        client.set_terminated(run.info.run_id, KILLED)


def is_run(lake: Lake, name: str, run_id: str) -> bool:
    """Whether the lake's experiment has a run of this id."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    try:
        return MlflowClient(lake.mlflow_uri).get_run(run_id).info.experiment_id == experiment(lake, name)
    except MlflowException:
        return False

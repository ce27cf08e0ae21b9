"""A batch's networks, run: what each answers is in the table, or why it was not run, and nothing stops a batch."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from peace_pipeline.lake import Lake
from peace_pipeline.lake.tables import RESPONSES
from peace_pipeline.lake.violations import violations
from peace_pipeline.responses.probes import probes
from peace_pipeline.responses.runners import trained
from peace_pipeline.responses.running import Limits
from peace_pipeline.responses.table import read_responses
from peace_pipeline.stages.respond import respond_batch
from peace_pipeline.stages.staleness import stale_batches
from peace_pipeline.symmetry.opening import local_model
from peace_pipeline.symmetry.transforming import strengths, transform
from tests.lakes import directory, ingest, write_model, write_network
from tests.networks import config_of, module_of

FAMILIES = ("mlp", "cnn", "resnet")


def responded(lake: Lake, zoo: Path) -> str:
    (batch,) = ingest(lake, directory(zoo)).batches
    return batch


def reasons(lake: Lake, batch: str) -> dict[str, str | None]:
    rows = pq.read_table(lake.responses(batch), columns=["model_id", "reason"]).to_pylist()
    return {row["model_id"].rpartition("/")[2]: row["reason"] for row in rows}


def test_what_is_kept_is_what_the_module_answers(lake: Lake, zoo: Path) -> None:
    for name in FAMILIES:
        write_network(zoo / name, name, 1)
    batch = responded(lake, zoo)
    assert violations(RESPONSES, lake.responses(batch)) == []
    found = read_responses(lake, batch)
    for name in FAMILIES:
        response = found[f"directory:zoo/{name}"]
        with torch.no_grad():
            expected = module_of(name, 1, torch.float32)(probes(trained.input_spec(config_of(name)))).numpy()
        assert response.run_by == "trained"
        assert np.allclose(response.outputs, expected, rtol=2e-3, atol=2e-3 * np.abs(expected).max())
    assert read_responses(lake, batch, ["directory:zoo/cnn"]).keys() == {"directory:zoo/cnn"}


@pytest.mark.parametrize("name", FAMILIES)
def test_disguised_networks_answer_alike(name: str, lake: Lake, zoo: Path, tmp_path: Path) -> None:
    write_network(zoo / "a", name, 1)
    with local_model(lake, str(zoo / "a")) as model:
        transform(model, zoo / "b", strengths([], everything=True, decades=None), lenient=True)
    found = read_responses(lake, responded(lake, zoo))
    one, other = (found[f"directory:zoo/{each}"] for each in "ab")
    assert np.allclose(one.outputs, other.outputs, atol=2e-3 * np.abs(one.outputs).max())
    assert one.gram is not None


def test_why_networks_are_not_run(lake: Lake, zoo: Path) -> None:
    state = module_of("mlp", 0, torch.float32).state_dict()
    config = config_of("mlp")
    first = next(iter(state))
    write_model(zoo / "strange", state, {})
    write_model(zoo / "other", state, config | {"hidden_sizes": [10, 8, 10]})
    write_model(zoo / "huge", state, config | {"hidden_sizes": [10**9] * 3})
    write_model(zoo / "deep", state, config | {"hidden_sizes": [9] * 10**6})
    write_model(zoo / "malformed", state, config | {"hidden_sizes": "many"})
    write_model(zoo / "explodes", {k: v * 1e30 for k, v in state.items()}, config)
    write_model(zoo / "more", state | {"other": state[first].clone()}, config)
    batch = responded(lake, zoo)
    found = reasons(lake, batch)
    assert found["strange"] == "no config.json says what it is"
    assert "not that of the module" in (found["other"] or "")
    assert "larger network" in (found["huge"] or "")
    assert "larger network" in (found["deep"] or "")
    assert "Error" in (found["malformed"] or "")
    assert "not finite" in (found["explodes"] or "")
    assert "no tensor other" in (found["more"] or "")
    assert read_responses(lake, batch) == {}
    assert stale_batches(lake) == {batch: "embed"}, "a network that isn't run is no failed one"


def test_limits_are_reasons_too(lake: Lake, zoo: Path) -> None:
    write_network(zoo / "a", "mlp", 1)
    batch = responded(lake, zoo)
    assert respond_batch(lake, batch, limits=None).reasons == {"responses are off": 1}
    assert read_responses(lake, batch) == {}
    (reason,) = respond_batch(lake, batch, limits=Limits(largest=10)).reasons
    assert "more than 10" in reason
    assert respond_batch(lake, batch, limits=Limits.of("always")).run_by == {"trained": 1}


def test_a_lake_without_responses_gets_them(lake: Lake, zoo: Path) -> None:
    write_network(zoo / "a", "mlp", 1)
    batch = responded(lake, zoo)
    lake.responses(batch).unlink()
    assert read_responses(lake, batch) == {}
    assert stale_batches(lake) == {batch: "respond"}


KILLED = """
import sys
from peace_pipeline.lake import Lake
from peace_pipeline.stages.respond import respond_batch

def wait(done, total):
    print(done, flush=True)
    sys.stdin.read()

respond_batch(Lake.open(sys.argv[1]), sys.argv[2], progress=wait)
"""


def test_a_killed_run_leaves_nothing_half_written(lake: Lake, zoo: Path) -> None:
    write_network(zoo / "a", "mlp", 1)
    write_network(zoo / "b", "cnn", 1)
    batch = responded(lake, zoo)
    lake.responses(batch).unlink()
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(lake.root), batch], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"1\n"
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not list(lake.responses(batch).parent.iterdir())
    assert stale_batches(lake) == {batch: "respond"}
    assert respond_batch(lake, batch).models == 2

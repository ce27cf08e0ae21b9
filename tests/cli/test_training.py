"""`peace train` as a user sees it: what it says while it works, and what an interrupt leaves."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import time
from pathlib import Path

import mlflow
import pytest
from filelock import FileLock
from mlflow.entities import Run

from peace_pipeline.lake import Lake
from peace_pipeline.lake.tracking import experiment
from peace_pipeline.resources.instance import open_instance
from peace_pipeline.zoo import ZooConfig
from tests.lakes import ingest
from tests.pipeline import Workplace, environment, write_networks


@pytest.fixture
def own(tmp_path: Path) -> Workplace:
    """A place with networks in its lake, and nothing trained."""
    place = Workplace(tmp_path)
    write_networks(place.zoo, 0, 30)
    (place.root / "peace.toml").write_text('[[source]]\nkind = "directory"\npath = "zoo"\n')
    ingest(place.lake, ZooConfig.load(place.root / "peace.toml"))
    return place


def newest_run(lake: Lake) -> Run:
    client = mlflow.MlflowClient(lake.mlflow_uri)
    return client.search_runs([experiment(lake, "encoder")], order_by=["attributes.start_time DESC"])[0]


def train(place: Workplace, *arguments: str, stderr: int = subprocess.PIPE) -> subprocess.Popen[str]:
    """`peace train` in a session of its own, in a folder of its own."""
    (place.root / "here").mkdir()
    return subprocess.Popen(
        place.command("train", *arguments),
        cwd=place.root / "here",
        env=environment() | {"COLUMNS": "160"},
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        start_new_session=True,
    )


def test_a_terminal_shows_how_it_goes(own: Workplace) -> None:
    terminal, end = pty.openpty()
    training = train(own, "--epochs", "2", "--seed", "3", stderr=end)
    os.close(end)
    shown = b""
    while chunk := read(terminal):
        shown += chunk
    assert training.wait() == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    assert "reading networks" in text
    assert re.search(r"Training the encoder .* 2/2 .*loss \d+\.\d\d · validation MAP .* networks/s", text)
    assert "pickle" not in text.lower(), "what libraries say stays out"
    assert not list((own.root / "here").iterdir())


def test_few_networks_are_warned_of_and_there_is_a_way_back(own: Workplace) -> None:
    said = own.peace("train", "--epochs", "1", "--seed", "7").out
    assert "fewer than 100 networks" in said
    assert "`peace encoder pretrained` goes back" in said
    shipped, trained = own.peace("encoder", "--json").json
    assert (shipped["shipped"], shipped["current"]) == (True, False)
    assert (trained["shipped"], trained["current"], trained["networks"]) == (False, True, 19)
    assert "`peace run`" in own.peace("encoder", "pretrained").out
    assert "`peace run`" not in own.peace("encoder", "pretrained").out, "it is the current one already"
    assert own.peace("run", "--json").json["encoder_version"] == shipped["version"]
    assert own.peace("status", "--json").json["indexed_by"] == shipped["version"]
    assert own.peace("encoder", trained["version"], "--json").json[1]["current"] is True
    assert "`peace encoder` lists" in own.peace("encoder", "nope", code=1).err
    assert f"none of scratch, pretrained, {shipped['version']}" in " ".join(
        own.peace("train", "--start", "nope", code=2).err.split()
    )


def read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # the other end is closed
        return b""


def test_a_training_waits_for_another_and_says_so(own: Workplace) -> None:
    with FileLock(own.lake.root / ".training.lock"):
        training = train(own, "--epochs", "1", "--seed", "4")
        assert training.stderr
        line = training.stderr.readline()
        assert line == "Training the encoder · waiting for another training of this lake\n"
        time.sleep(2)
        assert training.poll() is None
    _, rest = training.communicate(timeout=300)
    assert (training.returncode, rest) == (0, "")


def test_an_interrupt_of_the_terminal_leaves_a_training_that_goes_on(own: Workplace) -> None:
    options = ["--epochs", "200", "--patience", "200", "--batch-size", "8"]
    training = train(own, *options)
    deadline = time.monotonic() + 600
    while not checkpoints(own.lake) and training.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(training.pid, signal.SIGINT)
    out, err = training.communicate(timeout=60)
    assert (training.returncode, out, err.splitlines()[-1]) == (130, "", "peace: interrupted")
    assert checkpoints(own.lake)
    assert newest_run(own.lake).info.status == "KILLED"
    with open_instance(own.lake) as instance:
        (run,) = instance.get_runs()
        assert run.is_finished
    other = own.peace("train", "--epochs", "1", "--seed", "5", "--json").json
    assert newest_run(own.lake).data.tags["encoder_version"] == other["encoder_version"]
    assert not checkpoints(own.lake), "another training needs the room"


def checkpoints(lake: Lake) -> list[Path]:
    return list((lake.encoders / ".training").glob("*/last.ckpt"))

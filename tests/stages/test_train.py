"""A short training stores an encoder, tells MLflow, and gives the same encoder from the same seed."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pytest
import torch
from mlflow.entities import Run

from peace_pipeline.encoder import store
from peace_pipeline.encoder.config import VARIANTS
from peace_pipeline.encoder.embed import embed
from peace_pipeline.encoder.model import Encoder
from peace_pipeline.encoder.settings import PairSettings, Settings
from peace_pipeline.encoder.training import LAST
from peace_pipeline.lake import Lake
from peace_pipeline.stages.pairs import write_pairs
from peace_pipeline.stages.train import EXPERIMENT, READING, NoPairs, TooFewNetworks, train
from tests.lakes import card_of, directory, ingest, write_model, write_network
from tests.networks import as_input, config_of, module_of


def networks_in(zoo: Path, count: int) -> None:
    for i in range(count):
        torch.manual_seed(i)
        task = ("digits", "animals")[i % 2]
        state = {
            "0.weight": torch.randn(5, 4),
            "0.bias": torch.randn(5),
            "1.weight": torch.randn(2, 5) * (1 + i % 2),
        }
        write_model(zoo / f"m{i}", state, card=card_of(task, f"{task}-{i // 8}", f"run-{i}"))


@pytest.fixture(scope="module")
def trained_on(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """A lake with just enough networks."""
    root = tmp_path_factory.mktemp("training")
    (root / "zoo").mkdir()
    lake = Lake.open(root / "home")
    networks_in(root / "zoo", 63)
    write_network(root / "zoo" / "cnn", "cnn", card=card_of("digits", "c", "c-0"))
    state = module_of("mlp", 5, torch.float32).state_dict()
    for name in ("huge0", "huge3"):  # of the validation and of the training runs
        write_model(root / "zoo" / name, {name: value * 1e30 for name, value in state.items()})
    ingest(lake, directory(root / "zoo"))
    write_pairs(lake)
    return lake


def test_training_stores_an_encoder_and_logs_it(trained_on: Lake) -> None:
    told: list[tuple[int, int, str]] = []
    settings = Settings(epochs=2, seed=3)
    first = train(trained_on, settings, lambda *how: told.append(how))
    reading, steps = ([how for how in told if (how[2] == READING) is one] for one in (True, False))
    assert reading[-1][0] == reading[-1][1] > 50
    total = steps[-1][1]
    assert [how[:2] for how in steps] == [(step, total) for step in range(1, total + 1)], "from the first on"
    assert re.fullmatch(r"loss \d+\.\d\d · [\d,]+ networks/s", steps[0][2])
    assert re.fullmatch(r"loss .* · validation MAP [01]\.\d\d · .* networks/s", steps[-1][2])
    assert first.epochs == 2
    assert first.senses.keys() == {"both", "weights"}, "no network was run"
    assert 0 <= first.validation_map == first.senses["both"] <= 1
    assert store.current_version(trained_on) == first.encoder_version
    version, encoder = store.load(trained_on)
    torch.manual_seed(3)
    untrained = type(encoder)(encoder.config).state_dict()
    assert all(value.isfinite().all() for value in encoder.state_dict().values())
    assert any(not torch.equal(value, untrained[name]) for name, value in encoder.state_dict().items())

    client = mlflow.MlflowClient(trained_on.mlflow_uri)
    (run,) = client.search_runs([client.get_experiment_by_name("encoder").experiment_id])
    assert run.info.status == "FINISHED"
    assert (run.data.params["epochs"], run.data.params["seed"]) == ("2", "3")
    assert run.data.params["pairs/seed"] == "0"
    assert run.data.metrics.keys() >= {"training_loss", "validation_map"}
    assert len(client.get_metric_history(run.info.run_id, "validation_map")) == 2
    assert (
        run.data.tags.items()
        >= {
            "encoder_version": version,
            "started_from": "scratch",
            "lake": str(trained_on.root),
        }.items()
    )

    again = train(trained_on, settings)
    assert again.encoder_version == version, "the same seed gives the same encoder"
    other = train(trained_on, Settings(epochs=1, seed=4))
    assert other.encoder_version != version


def test_mlflow_has_the_encoder_and_its_card(
    trained_on: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the lake: nothing is left where the training was begun."""
    monkeypatch.chdir(tmp_path)
    train(trained_on, Settings(epochs=1, seed=6, margin=0.2))
    assert not list(tmp_path.iterdir())
    version, encoder = store.load(trained_on)
    run = newest_run(trained_on)
    mlflow.set_tracking_uri(trained_on.mlflow_uri)
    assert run.info.artifact_uri.startswith(trained_on.mlflow.as_uri())
    card = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/card.md")
    assert f"# PEACE encoder {version}" in card
    assert "peace train --seed 6 --epochs 1 --margin 0.2" in card.replace(
        "--epochs 1 --seed 6", "--seed 6 --epochs 1"
    )
    loaded = mlflow.pytorch.load_model(f"runs:/{run.info.run_id}/encoder")
    network = as_input("mine", module_of("mlp", 5, torch.float32).state_dict(), config_of("mlp"))
    mine, other = (next(embed(each, [network])) for each in (encoder, loaded))
    assert np.array_equal(mine.network, other.network)
    assert not list(tmp_path.iterdir())


def test_a_training_that_fails(trained_on: Lake) -> None:
    def fail(done: int, total: int, note: str = "") -> None:
        if note != READING:
            raise RuntimeError("a fault")

    with pytest.raises(RuntimeError, match="a fault"):
        train(trained_on, Settings(epochs=1, seed=7), fail)
    assert newest_run(trained_on).info.status == "FAILED"


def test_an_interrupt_leaves_what_the_next_training_goes_on_with(trained_on: Lake) -> None:
    def interrupt(done: int, total: int, note: str = "") -> None:
        if note != READING and done > total // 2:
            raise KeyboardInterrupt

    settings = Settings(epochs=2, seed=8)
    with pytest.raises(KeyboardInterrupt):
        train(trained_on, settings, interrupt)
    interrupted = newest_run(trained_on)
    assert interrupted.info.status == "KILLED"
    train(trained_on, settings)
    finished = newest_run(trained_on)
    assert (finished.info.run_id, finished.info.status) == (interrupted.info.run_id, "FINISHED")


def test_a_checkpoint_that_a_crash_cut_short(trained_on: Lake) -> None:
    """The training begins anew, in a run of its own."""

    def interrupt(done: int, total: int, note: str = "") -> None:
        if note != READING and done > total // 2:
            raise KeyboardInterrupt

    settings = Settings(epochs=2, seed=9)
    with pytest.raises(KeyboardInterrupt):
        train(trained_on, settings, interrupt)
    interrupted = newest_run(trained_on)
    (last,) = (trained_on.encoders / ".training").glob(f"*/{LAST}")
    last.write_bytes(last.read_bytes()[: last.stat().st_size // 2])
    steps: list[int] = []
    train(trained_on, settings, lambda done, total, note="": steps.append(done) if note != READING else None)
    assert steps[0] == 1
    assert newest_run(trained_on).info.run_id != interrupted.info.run_id


def test_training_ends_where_nothing_is_gained(trained_on: Lake) -> None:
    trained = train(trained_on, Settings(epochs=40, patience=1, learning_rate=1e-12, batch_size=64))
    assert trained.epochs == 2
    nothing_to_choose_by = Settings(epochs=3, patience=1, validation=1, batch_size=64)
    assert train(trained_on, nothing_to_choose_by).epochs == 3


def test_training_starts_from_the_encoder_that_is_shipped(trained_on: Lake, tmp_path: Path) -> None:
    settings = Settings(epochs=1, start="pretrained")
    with pytest.raises(store.NoEncoder, match="pretrained is neither"):
        train(trained_on, settings, packaged=tmp_path / "nowhere")
    shipped = store.save(Lake.open(tmp_path / "other"), Encoder(VARIANTS["full"]), {})
    trained = train(trained_on, settings, packaged=tmp_path / "other" / "encoders" / shipped)
    assert newest_run(trained_on).data.tags["started_from"] == shipped
    assert trained.encoder_version != train(trained_on, Settings(epochs=1)).encoder_version


def test_every_setting_has_its_effect(trained_on: Lake) -> None:
    """Another loss, miner, noise or sample trains another encoder, and the encoder's file says so."""
    base = Settings(epochs=1)
    versions = [train(trained_on, base).encoder_version]
    for changes in (
        {"loss": "triplet"},
        {"miner": "multi-similarity"},
        {"batch_size": 16},
        {"learning_rate": 1e-4},
        {"twin_weight": 0.0},
        {"accuracy_weight": 1.0},
        {"start": versions[0]},
    ):
        versions.append(train(trained_on, base.model_copy(update=changes)).encoder_version)
        stored = json.loads((trained_on.encoders / versions[-1] / "config.json").read_text())["training"]
        assert stored.items() >= changes.items()
    networks = stored["networks"]
    for pairs in (
        PairSettings(noise=0.1),
        PairSettings(seed=1),
        PairSettings(networks=20),
        PairSettings(far_off=0.0, pairs=1),
    ):
        write_pairs(trained_on, pairs)
        versions.append(train(trained_on, base).encoder_version)
        stored = json.loads((trained_on.encoders / versions[-1] / "config.json").read_text())["training"]
        assert stored["pairs"] == pairs.model_dump(exclude_defaults=True)
        assert stored["networks"] <= pairs.networks
        assert (stored["networks"] < networks) == (pairs.networks < networks)
    write_pairs(trained_on)
    assert len(set(versions)) == len(versions)


def test_too_few_networks(lake: Lake, zoo: Path) -> None:
    networks_in(zoo, 1)
    ingest(lake, directory(zoo))
    write_pairs(lake)
    with pytest.raises(TooFewNetworks, match="1 networks in the lake, 2 needed"):
        train(lake, Settings(epochs=1))
    assert store.own_version(lake) is None


def test_an_encoder_to_start_from_that_is_not_there(trained_on: Lake) -> None:
    with pytest.raises(store.NoEncoder, match="encoder 0123456789ab is neither"):
        train(trained_on, Settings(epochs=1, start="0123456789ab"))


def newest_run(lake: Lake) -> Run:
    client = mlflow.MlflowClient(lake.mlflow_uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    return client.search_runs([experiment.experiment_id], order_by=["attributes.start_time DESC"])[0]


KILLED = """
import os, signal, sys
from peace_pipeline.encoder.settings import Settings
from peace_pipeline.lake import Lake
from peace_pipeline.stages.train import train
from pathlib import Path

def die(done, total, note):
    if "loss" in note and done > 2 * total // 3:
        os.kill(os.getpid(), signal.SIGKILL)

train(Lake.open(Path(sys.argv[1])), Settings(epochs=3, batch_size=16, seed=5), die)
"""


def test_a_training_that_was_killed_goes_on_and_gives_the_same_encoder(
    trained_on: Lake, tmp_path: Path
) -> None:
    whole = train(trained_on, Settings(epochs=3, batch_size=16, seed=5))
    lake = Lake.open(tmp_path / "home")
    shutil.copytree(trained_on.root, lake.root, dirs_exist_ok=True)
    shutil.rmtree(lake.encoders)
    ended = subprocess.run([sys.executable, "-c", KILLED, lake.root], capture_output=True, timeout=300)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    assert store.own_version(lake) is None
    begun = newest_run(lake)
    assert begun.info.status == "RUNNING", "it had no time to say that it dies"
    steps: list[float] = []
    resumed = train(
        lake,
        Settings(epochs=3, batch_size=16, seed=5),
        lambda done, total, note: steps.append(done / total) if note != READING else None,
    )
    assert min(steps) >= 2 / 3, "two epochs of three were done"
    assert resumed.encoder_version == whole.encoder_version
    run = newest_run(lake)
    assert (run.info.run_id, run.info.status) == (begun.info.run_id, "FINISHED")
    history = mlflow.MlflowClient(lake.mlflow_uri).get_metric_history(run.info.run_id, "validation_map")
    assert len({each.step for each in history}) == len(history) == 3
    assert not list((lake.encoders / ".training").glob("*")), "nothing is left over"


def test_pairs_come_first(lake: Lake, zoo: Path) -> None:
    networks_in(zoo, 3)
    ingest(lake, directory(zoo))
    with pytest.raises(NoPairs, match="`train` draws them"):
        train(lake, Settings(epochs=1))

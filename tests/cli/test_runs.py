"""`peace run` and `peace train` as a user types them, on a lake of small networks."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from safetensors.torch import load_file, save_file

from peace_pipeline.encoder import store
from peace_pipeline.index.tables import indexed_models
from peace_pipeline.lake import Lake
from tests.pipeline import NETWORKS, Workplace, environment, own, place, write_networks

__all__ = ["own", "place"]
MAIN = "from peace_pipeline.cli.main import main; main()"
PASS = ["new", "changed", "deleted", "embedded", "skipped", "trained", "encoder_version", "seconds"]


class Bomb:
    """A pickle that leaves a file behind where it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def embedded_files(lake: Lake) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (lake.root / "layers").glob("*.parquet")}


def test_run_again_does_nothing_and_says_so_without_torch(place: Workplace) -> None:
    without = f"import sys; sys.modules['torch'] = None; {MAIN}"
    command = [sys.executable, "-c", without, *place.command("run")[1:]]
    answer = subprocess.run(command, cwd=place.root, capture_output=True, text=True, env=environment())
    assert "Nothing to do" in answer.stdout, answer.stderr
    summary = place.peace("run", "--json").json
    assert list(summary) == PASS
    assert [summary[name] for name in PASS[:6]] == [0, 0, 0, 0, [], False]


def test_added_networks_alone_are_embedded(own: Workplace) -> None:
    before = embedded_files(own.lake)
    added = write_networks(own.zoo, NETWORKS, 20)
    summary = own.peace("run", "--json").json
    assert (summary["new"], summary["embedded"], summary["trained"]) == (20, 20, False)
    after = embedded_files(own.lake)
    assert len(after) == len(before) + 1
    assert before.items() <= after.items()
    assert len(own.model_ids()) == NETWORKS + 20
    assert set(added) <= own.model_ids()


def test_changed_and_deleted_networks(own: Workplace) -> None:
    before = own.vectors()
    shutil.rmtree(own.zoo / "n003")
    shutil.copy(own.zoo / "n005" / "model.safetensors", own.zoo / "n004" / "model.safetensors")
    summary = own.peace("run", "--json").json
    assert (summary["new"], summary["changed"], summary["deleted"]) == (0, 1, 1)
    after = own.vectors()
    assert set(before) - set(after) == {"directory:zoo/n003"}
    assert np.allclose(after["directory:zoo/n004"], before["directory:zoo/n005"], atol=1e-5)
    assert "Nothing to do" in own.peace("run").out


def test_unreadable_models_are_skipped_once_each_with_a_reason(own: Workplace, tmp_path: Path) -> None:
    write_networks(own.zoo, NETWORKS, 5)
    weights = own.zoo / f"n{NETWORKS:03}" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    (own.zoo / f"n{NETWORKS + 1:03}" / "model.safetensors").unlink()
    folder = own.zoo / f"n{NETWORKS + 2:03}"
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb(tmp_path / "exploded")))
    huge = own.zoo / f"n{NETWORKS + 3:03}" / "model.safetensors"
    save_file({name: value * 1e30 for name, value in load_file(huge).items()}, huge)
    summary = own.peace("run", "--json").json
    reasons = {row["model_id"]: row["reason"] for row in summary["skipped"]}
    assert summary["embedded"] == 1
    assert len(summary["skipped"]) == 4
    assert "its vector is not finite" in reasons[f"directory:zoo/n{NETWORKS + 3:03}"]
    assert reasons[f"directory:zoo/n{NETWORKS + 1:03}"] == "config.json but no weights"
    assert all(reasons.values())
    assert not (tmp_path / "exploded").exists()
    assert len(own.model_ids()) == NETWORKS + 1
    assert own.peace("run", "--json").json["skipped"] == []
    rows = own.peace("embed", "zoo/n000", str(huge), "zoo/n001", "--json", code=1).json
    assert ["vector" in row for row in rows] == [True, False, True]
    assert "its vector is not finite" in rows[1]["error"]


def test_a_killed_run_is_completed_by_the_next(own: Workplace) -> None:
    write_networks(own.zoo, NETWORKS, 20)
    before = set((own.lake.root / "zoo").glob("*.parquet"))
    process = subprocess.Popen(
        own.command("run"),
        cwd=own.root,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment(),
    )
    deadline = time.monotonic() + 60
    while set((own.lake.root / "zoo").glob("*.parquet")) == before and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(own.model_ids()) == NETWORKS
    assert own.peace("run", "--json").json["embedded"] == 20
    assert len(own.model_ids()) == NETWORKS + 20


def test_an_interrupt_of_the_terminal_ends_the_run_and_the_next_one_goes_on(own: Workplace) -> None:
    write_networks(own.zoo, NETWORKS, 200)
    run = subprocess.Popen(
        own.command("run"),
        cwd=own.root,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    while len(own.lake.batches()) == 1 and run.poll() is None:
        time.sleep(0.05)
    os.killpg(run.pid, signal.SIGINT)
    out, err = run.communicate(timeout=60)
    assert (run.returncode, out, err) == (130, "", "peace: interrupted\n")
    summary = own.peace("run", "--json").json
    assert summary["embedded"] == 200
    assert len(own.model_ids()) == NETWORKS + 200


def test_retraining_leaves_the_old_index_until_the_next_run(own: Workplace) -> None:
    before = place_version(own)
    trained = own.peace("train", "--epochs", "1", "--seed", "1", "--json").json
    assert list(trained) == [
        "encoder_version",
        "epochs",
        "validation_map",
        "validation_map_weights",
        "seconds",
        "mlflow",
    ]
    assert place_version(own) == before != trained["encoder_version"]
    (hit,) = own.peace("search", own.zoo / "n000", "-k", "1", "--json").json
    assert hit["model_id"] == "directory:zoo/n000"
    assert hit["similarity"] > 0.9999
    summary = own.peace("run", "--json").json
    assert (summary["embedded"], summary["trained"]) == (NETWORKS, False)
    assert place_version(own) == summary["encoder_version"] == trained["encoder_version"]


def place_version(place: Workplace) -> str:
    (version,) = set(indexed_models(place.lake)["encoder_version"].to_pylist())
    return version


def test_a_configuration_that_cannot_be_used(tmp_path: Path) -> None:
    place = Workplace(tmp_path)
    assert "no index" in place.peace("search", "zoo/n000", code=1).err
    assert "no zoo is configured" in place.peace("run", code=1).err
    (tmp_path / "peace.toml").write_text('[[source]]\nkind = "directory"\npath = "nowhere"\n')
    assert "is not a folder" in place.peace("run", code=1).err


def test_one_network_is_embedded_and_searched_at_once(tmp_path: Path) -> None:
    place, shipped = Workplace(tmp_path), store.packaged_version()
    (model_id,) = write_networks(place.zoo, 0, 1)
    (tmp_path / "peace.toml").write_text('[[source]]\nkind = "directory"\npath = "zoo"\n')
    (row,) = place.peace("embed", "zoo/n000/model.safetensors", "--json").json
    assert row["encoder_version"] == shipped
    assert len(row["vector"]) == store.load(place.lake)[1].config.dimension
    summary = place.peace("run", "--json").json
    assert (summary["new"], summary["embedded"], summary["trained"]) == (1, 1, False)
    assert summary["encoder_version"] == shipped == place_version(place)
    (hit,) = place.peace("search", "zoo/n000", "-k", "1", "--json").json
    assert (hit["model_id"], round(hit["similarity"], 4)) == (model_id, 1)
    assert "Nothing to do" in place.peace("run").out
    assert (place.lake.encoders / summary["encoder_version"]).exists(), "what embedded it is kept beside it"
    assert store.own_version(place.lake) is None
    place.peace("gc", "--older-than", "0")
    assert "Nothing to do" in place.peace("run").out

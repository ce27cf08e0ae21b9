"""`peace …` as a user types it, on a lake of small networks."""

from __future__ import annotations

import json
import pickle
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file, save_file

from peace_pipeline.index.tables import indexed_models
from peace_pipeline.lake import Lake
from tests.pipeline import NETWORKS, Workplace, environment, own, place, write_networks

__all__ = ["own", "place"]
PASS = ["new", "changed", "deleted", "embedded", "skipped", "trained", "encoder_version", "seconds"]


class Bomb:
    """A pickle that leaves a file behind where it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def model_ids(place: Workplace) -> set[str]:
    return set(indexed_models(place.lake)["model_id"].to_pylist())


def embedded_files(lake: Lake) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (lake.root / "layers").glob("*.parquet")}


def vectors(place: Workplace) -> dict[str, list[float]]:
    import lancedb

    rows = lancedb.connect(place.lake.index).open_table("models").search().limit(None).to_list()
    return {row["model_id"]: list(row["vector"]) for row in rows}


def test_run_again_does_nothing_and_says_so(place: Workplace) -> None:
    started = time.monotonic()
    answer = place.peace_alone("run")
    assert time.monotonic() - started < 20
    assert "Nothing to do" in answer.out
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
    assert len(model_ids(own)) == NETWORKS + 20
    assert set(added) <= model_ids(own)


def test_changed_and_deleted_networks(own: Workplace) -> None:
    before = vectors(own)
    shutil.rmtree(own.zoo / "n003")
    shutil.copy(own.zoo / "n005" / "model.safetensors", own.zoo / "n004" / "model.safetensors")
    summary = own.peace("run", "--json").json
    assert (summary["new"], summary["changed"], summary["deleted"]) == (0, 1, 1)
    after = vectors(own)
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
    assert len(model_ids(own)) == NETWORKS + 1
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
    assert len(model_ids(own)) == NETWORKS
    assert own.peace("run", "--json").json["embedded"] == 20
    assert len(model_ids(own)) == NETWORKS + 20


def test_an_interrupt_ends_the_run_and_the_next_one_goes_on(own: Workplace) -> None:
    write_networks(own.zoo, NETWORKS, 400)
    run = subprocess.Popen(
        own.command("run"), cwd=own.root, env=environment(), stderr=subprocess.PIPE, text=True
    )
    while len(own.lake.batches()) == 1 and run.poll() is None:
        time.sleep(0.05)
    run.send_signal(signal.SIGINT)
    _, err = run.communicate(timeout=60)
    assert run.returncode == 130
    assert err == "peace: interrupted\n"
    summary = own.peace("run", "--json").json
    assert summary["embedded"] == 400
    assert len(model_ids(own)) == NETWORKS + 400


def test_retraining_leaves_the_old_index_until_the_next_run(own: Workplace) -> None:
    before = place_version(own)
    trained = own.peace("train", "--epochs", "1", "--seed", "1", "--json").json
    assert list(trained) == ["encoder_version", "epochs", "validation_map", "seconds"]
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


def test_embed(place: Workplace, tmp_path: Path) -> None:
    out = tmp_path / "vectors.parquet"
    paths = ["zoo/n001", "zoo/nowhere", "zoo/n000/model.safetensors", "hf://name"]
    answer = place.peace_alone("embed", *paths, "--out", out, "--dtype", "float64", "--json", code=1)
    rows = answer.json
    assert [row["path"] for row in rows] == paths
    assert [sorted(row) for row in rows[1::2]] == [["encoder_version", "error", "path"]] * 2
    assert "not of the form hf://org/name" in rows[3]["error"]
    for row in rows[::2]:
        assert (row["wiring"], row["parameters"], row["sampled"]) == ("chain", 254, False)
        assert np.linalg.norm(row["vector"]) == pytest.approx(1, abs=1e-12)
    assert np.allclose(rows[0]["vector"], vectors(place)["directory:zoo/n001"], atol=1e-4)
    assert pq.read_table(out)["vector"].to_pylist()[0] == rows[0]["vector"]
    assert answer.err == "peace: 2 of 4 could not be embedded\n"
    assert "zoo/n001" in place.peace("embed", "zoo/n001").out


def test_search(place: Workplace) -> None:
    query = "directory:zoo/n000"
    rows = place.peace("search", query, "-k", "5", "--json").json
    assert [row["rank"] for row in rows] == [1, 2, 3, 4, 5]
    assert list(rows[0]) == ["rank", "model_id", "revision", "source", "task", "architecture", "similarity"]
    assert query not in [row["model_id"] for row in rows]
    similarities = [row["similarity"] for row in rows]
    assert similarities == sorted(similarities, reverse=True)
    (itself,) = place.peace("search", "zoo/n000", "-k", "1", "--json").json
    assert itself["model_id"] == query
    filtered = place.peace("search", query, "--where", "model_id < 'directory:zoo/n003'", "--json").json
    assert {row["model_id"] for row in filtered} == {"directory:zoo/n001", "directory:zoo/n002"}
    words = place.peace("search", "--text", "cats", "-k", "100", "--json").json
    assert {row["similarity"] for row in words} == {None}
    assert len(words) == NETWORKS // 2
    both = place.peace("search", query, "--text", "dogs", "--json").json
    assert all(row["similarity"] is not None for row in both)
    assert "n00" in place.peace("search", query).out


def test_report_and_wiring(place: Workplace) -> None:
    (report,) = place.peace("report", "--json").json
    assert list(report) == ["name", "path", "created_at"]
    assert Path(place.peace("report", "retrieval").out.strip()).read_text().startswith("<!doctype html>")
    wiring = place.peace("wiring", "zoo/n000", "--json").json
    assert (wiring["method"], wiring["family"]) == ("chain", None)
    assert wiring["groups"][1] == {
        "name": "0", "size": 10, "kind": "permutable", "actions": ["permute", "scale"]
    }  # fmt: skip
    assert wiring["layers"][0] == {
        "name": "0", "kind": "linear", "shape": [10, 12], "out_group": "0", "in_group": "input"
    }  # fmt: skip
    assert "chain" in place.peace("wiring", "zoo/n000/model.safetensors").out


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["report", "nothing"], 1, "no report 'nothing'"),
        (["wiring", "nowhere"], 1, "no such file"),
        (["wiring", "peace.toml"], 1, "not a weight file"),
        (["search", "directory:zoo/n000", "--where", "colour = 'red'"], 1, "colour"),
        (["search", "nowhere"], 1, "not in the index"),
        (["run", "--config", "nowhere.toml"], 1, "nowhere.toml not found"),
    ],
)
def test_failures_are_one_line(place: Workplace, arguments: list[str], code: int, says: str) -> None:
    answer = place.peace(*arguments, code=code)
    assert says in answer.err
    assert answer.err.startswith("peace: ")
    assert answer.err.count("\n") == 1
    assert answer.out == ""


def test_wrong_usage(place: Workplace) -> None:
    for arguments in (
        ["search"],
        ["embed"],
        ["train", "--variant", "none"],
        ["embed", "x", "--dtype", "int8"],
        ["no"],
    ):
        answer = place.peace(*arguments, code=2)
        assert "Traceback" not in answer.err
        assert answer.out == ""


def test_a_lake_without_encoder(tmp_path: Path) -> None:
    place = Workplace(tmp_path)
    write_networks(place.zoo, 0, 2)
    assert "no encoder" in place.peace("embed", "zoo/n000", code=1).err
    assert "no index" in place.peace("search", "zoo/n000", code=1).err
    assert "no zoo is configured" in place.peace("run", code=1).err
    (tmp_path / "peace.toml").write_text('[[source]]\nkind = "directory"\npath = "nowhere"\n')
    assert "is not a folder" in place.peace("run", code=1).err
    (tmp_path / "peace.toml").write_text('[[source]]\nkind = "directory"\npath = "zoo"\n')
    answer = place.peace("run")
    assert "2 new" in answer.out
    assert "No encoder yet" in answer.out
    assert json.loads(place.peace("report", "--json").out) == []
    assert "2 networks of at most" in place.peace("train", code=1).err


def test_help_is_quick(place: Workplace) -> None:
    started = time.monotonic()
    place.peace_alone("search", "--help")
    assert time.monotonic() - started < 2

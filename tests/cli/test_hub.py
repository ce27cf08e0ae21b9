"""`peace …` on models of a Hub, as a user types it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import lancedb
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save

from peace_pipeline.index.tables import indexed_models
from peace_pipeline.zoo.hub import politeness
from tests.lakes import card_of, write_network
from tests.networks import module_of
from tests.pipeline import NETWORKS, Workplace, own, place, write_networks
from tests.standin_hub import StandinHub

__all__ = ["own", "place"]
TOKEN = "hf_verysecret"


@pytest.fixture
def hub(own: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandinHub]:
    """A Hub of five models, the second source of the lake's peace.toml."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    write_networks(tmp_path / "models", NETWORKS, 5)
    with StandinHub(tmp_path / "hub") as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        monkeypatch.setattr(politeness, "_wait", lambda state: 0.01)
        hub.import_folder(tmp_path / "models", "org")
        with (own.root / "peace.toml").open("a") as config:
            config.write(f'[[source]]\nkind = "huggingface"\nendpoint = "{hub.endpoint}"\n')
        yield hub


def hub_models(place: Workplace) -> dict[str, str]:
    rows = indexed_models(place.lake).to_pylist()
    return {row["model_id"]: row["revision"] for row in rows if row["model_id"].startswith("org/")}


def test_new_changed_and_deleted_models_of_a_hub(own: Workplace, hub: StandinHub) -> None:
    summary = own.peace("run", "--json").json
    assert (summary["new"], summary["embedded"], summary["trained"]) == (5, 5, False)
    assert hub_models(own) == {model_id: repo.head.sha for model_id, repo in hub.repos.items()}
    first, second, third, *_ = hub.repos
    hub.delete(first)
    hub.touch(second)
    hub.set(third, gated="manual")
    summary = own.peace("run", "--json").json
    assert (summary["new"], summary["changed"], summary["deleted"]) == (0, 2, 1)
    assert [row["model_id"] for row in summary["skipped"]] == [third]
    expected = {model_id: repo.head.sha for model_id, repo in hub.repos.items() if model_id != third}
    assert hub_models(own) == expected
    assert "Nothing to do" in own.peace("run").out


def test_models_by_name(own: Workplace, hub: StandinHub, tmp_path: Path) -> None:
    name = next(iter(hub.repos))
    revision = hub.repos[name].head.sha
    paths = [f"hf://{name}", f"hf://{name}@{revision}", str(tmp_path / "models" / name.partition("/")[2])]
    rows = own.peace_alone("embed", *paths, "--json").json
    assert [row["path"] for row in rows] == paths
    vectors = np.array([row["vector"] for row in rows])
    assert np.abs(vectors - vectors[2]).max() < 1e-5
    assert own.peace_alone("wiring", paths[0], "--json").json["method"] == "chain"
    assert len(own.peace_alone("search", paths[0], "-k", "3", "--json").json) == 3


def test_models_of_the_lake_by_their_ids(own: Workplace, hub: StandinHub) -> None:
    own.peace("run")
    first, second, *_ = hub.repos
    assert own.peace("compare", first, second, "--json").json["verdict"] == "unrelated"
    assert own.peace("compare", first, "directory:zoo/n000", "--json").json["verdict"] == "unrelated"
    assert own.peace("wiring", first, "--json").json["method"] == "chain"
    rows = own.peace("embed", first, "org/none", "directory:zoo/n000", "--json", code=1).json
    assert ["vector" in row for row in rows] == [True, False, True]
    indexed = lancedb.connect(str(own.lake.index)).open_table("models").to_arrow().to_pylist()
    vectors = {row["model_id"]: row["vector"] for row in indexed}
    for row in (rows[0], rows[2]):
        assert np.abs(np.subtract(row["vector"], vectors[row["path"]])).max() < 1e-5


def test_networks_of_one_repository(own: Workplace, hub: StandinHub, tmp_path: Path) -> None:
    folder = tmp_path / "models" / next(iter(hub.repos)).partition("/")[2]
    files: dict[str, bytes | Path] = {"config.json": folder / "config.json"}
    weights = load_file(folder / "model.safetensors")
    for name, factor in (("a", 1.5), ("b", -0.5)):
        files[f"{name}.safetensors"] = save({key: values * factor for key, values in weights.items()})
    hub.push("org/two", files)
    ids = {"org/two#a.safetensors", "org/two#b.safetensors"}
    assert own.peace("run", "--json").json["embedded"] == 7
    assert {name for name in hub_models(own) if name.startswith("org/two")} == ids
    indexed = lancedb.connect(str(own.lake.index)).open_table("models").to_arrow().to_pylist()
    vectors = {row["model_id"]: row["vector"] for row in indexed}
    rows = own.peace("embed", *sorted(ids), "--json").json
    alone = own.peace_alone("embed", "hf://org/two#a.safetensors", "hf://org/two", "--json", code=1).json
    for row in [*rows, alone[0]]:
        assert np.abs(np.subtract(row["vector"], vectors[row["path"].removeprefix("hf://")])).max() < 1e-5
    assert own.peace("wiring", "org/two#b.safetensors", "--json").json["method"] == "chain"
    assert "2 networks, to be named one by one: org/two#a.safetensors, org/two#b" in alone[1]["error"]
    own.peace("forget", "org/two#a.safetensors")
    own.peace("run")
    assert {name for name in hub_models(own) if name.startswith("org/two")} == {"org/two#b.safetensors"}
    own.peace("forget", "org/two#a.safetensors", "--again")
    hub.push("org/two", {name: content for name, content in files.items() if name != "b.safetensors"})
    own.peace("run")
    assert {name for name in hub_models(own) if name.startswith("org/two")} == {"org/two"}


def test_networks_by_name_are_transformed(own: Workplace, hub: StandinHub) -> None:
    own.peace("run")
    model_id = next(iter(hub.repos))
    for number, name in enumerate((model_id, f"hf://{model_id}", "directory:zoo/n000")):
        own.peace_alone("transform", name, f"new-{number}", "--permute", "--assume", "chain")
        assert own.peace_alone("compare", name, f"new-{number}", "--json").json["verdict"] == "equivalent"
    assert "no such" in own.peace_alone("transform", "hf://org/none", "other", "--permute", code=1).err
    assert not (own.root / "other").exists()


def test_networks_of_a_hub_are_tried_on_examples(own: Workplace, hub: StandinHub, tmp_path: Path) -> None:
    for seed in range(3):
        write_network(tmp_path / "more" / f"mlp{seed}", "mlp", seed, card_of("digits"))
    hub.import_folder(tmp_path / "more", "org")
    own.peace("run")
    x = torch.randn(200, 12, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        y = module_of("mlp", 2, torch.float32)(x).argmax(1)
    np.savez(own.root / "examples.npz", x=x.numpy(), y=y.numpy())
    found = own.peace("recommend", "examples.npz", "--json").json
    assert (found["run"], found["not_run"]) == (3, [])
    best = found["best"][0]
    assert (best["model_id"], best["of"]) == ("org/mlp2", "hidden")
    assert best["uri"].startswith(f"{hub.endpoint}/org/mlp2")
    hub.delete("org/mlp0")
    hub.set("org/mlp1", gated="manual")
    found = own.peace("recommend", "examples.npz", "--json").json
    assert [each["model_id"] for each in found["best"]] == ["org/mlp2"]
    reasons = {row["model_id"]: row["reason"] for row in found["not_run"]}
    assert reasons == {
        "org/mlp0": "model.safetensors: no longer there, or private",
        "org/mlp1": "model.safetensors: gated: this token has no access",
    }


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("hf://org/none", "no such model"),
        ("hf://org", "not of the form"),
        ("hf://org/none@x", "no such model"),
    ],
)
def test_names_that_stand_for_nothing(own: Workplace, hub: StandinHub, name: str, reason: str) -> None:
    answer = own.peace_alone("embed", name, "--json", code=1)
    assert reason in answer.json[0]["error"]


def test_a_hub_that_is_down_fails_the_run_in_one_line_but_not_the_rest(
    own: Workplace, hub: StandinHub
) -> None:
    added = write_networks(own.zoo, NETWORKS, 2)
    text = (own.root / "peace.toml").read_text()
    (own.root / "peace.toml").write_text(text.replace(hub.endpoint, "http://127.0.0.1:9"))
    answer = own.peace("run", code=1)
    assert "source huggingface: http://127.0.0.1:9/api/models: " in answer.err.splitlines()[-1]
    assert TOKEN not in answer.err + answer.out
    assert set(added) <= set(indexed_models(own.lake)["model_id"].to_pylist())

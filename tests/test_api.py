"""The names that Python programs import."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import peace_pipeline
from peace_pipeline import Index, compare, embed
from peace_pipeline.index.search import NoIndex
from peace_pipeline.weights.errors import UnreadableCheckpoint
from peace_pipeline.weights.unusable import UnusableModel
from tests.pipeline import NETWORKS, Workplace, place

__all__ = ["place"]
HEAVY = ["torch", "dagster", "lightning", "mlflow"]
SEARCHES = f"""
import sys
import peace_pipeline
before = {{"lancedb", "torch"}} & set(sys.modules)
index = peace_pipeline.Index.open(sys.argv[1])
hits = index.search("directory:zoo/n000", k=3)
print(len(index), len(hits), *before, *(name for name in {HEAVY} if name in sys.modules))
"""


@pytest.fixture
def module() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


def test_a_module_its_state_dict_and_its_file_are_one_network(module: nn.Module, tmp_path: Path) -> None:
    save_file(module.state_dict(), tmp_path / "model.safetensors")
    home = tmp_path / "home"
    found = [
        embed(one, home=home).network for one in (module, module.state_dict(), tmp_path / "model.safetensors")
    ]
    assert np.allclose(found[1:], found[0], atol=1e-6)
    assert np.linalg.norm(found[0]) == pytest.approx(1, abs=1e-5)
    assert not home.exists(), "nothing is written for it"


def test_what_a_config_says_is_heard(module: nn.Module, tmp_path: Path) -> None:
    plain, told = (embed(module, config=one, home=tmp_path).network for one in (None, {"hidden_act": "relu"}))
    assert not np.allclose(plain, told, atol=1e-6)


def test_a_config_is_of_networks_in_memory(module: nn.Module, tmp_path: Path) -> None:
    save_file(module.state_dict(), tmp_path / "model.safetensors")
    path, relu = tmp_path / "model.safetensors", {"hidden_act": "relu"}
    with pytest.raises(ValueError, match="config"):
        embed(path, config=relu, home=tmp_path)
    with pytest.raises(ValueError, match="config"):
        compare(path, path, config=relu, home=tmp_path)
    assert compare(path, module, config=relu, home=tmp_path)["similarity"] == 1


def test_beside_tensors_a_state_dict_may_have_anything(module: nn.Module, tmp_path: Path) -> None:
    state = {**module.state_dict(), "epoch": 3, "_extra_state": None}
    assert compare(state, module, home=tmp_path)["verdict"] == "identical"


def test_a_config_is_added_to_what_a_library_writes(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    model = transformers.BertModel(transformers.BertConfig(vocab_size=20, **sizes))
    found = [
        embed(model, config=one, home=tmp_path, responses="never").network for one in (None, {"note": 1})
    ]
    assert np.allclose(*found, atol=1e-6)


def test_compare(module: nn.Module, tmp_path: Path) -> None:
    assert compare(module, module.state_dict(), home=tmp_path)["verdict"] == "identical"
    half = {name: value.half().float() for name, value in module.state_dict().items()}
    assert compare(half, module, home=tmp_path)["verdict"] == "derived"


def test_what_is_no_network(module: nn.Module, tmp_path: Path) -> None:
    for wrong in (None, {"model": module.state_dict()}, {"epoch": 3}, nn.Linear(2, 2, device="meta")):
        with pytest.raises(UnusableModel, match=r"no state dict|can't be stored"):
            embed(wrong, home=tmp_path)  # type: ignore[arg-type]
    with pytest.raises(UnreadableCheckpoint, match="the network in memory"):
        compare({"step": torch.tensor(1)}, module, home=tmp_path)
    with pytest.raises(UnusableModel, match="no such file"):
        embed(tmp_path / "nothing", home=tmp_path)


def test_search(place: Workplace) -> None:
    index = Index.open(place.root / "home")
    assert len(index) == NETWORKS
    query = "directory:zoo/n000"
    first, *_ = index.search(place.zoo / "n000", k=2)
    assert (first.model_id, round(first.similarity or 0, 4)) == (query, 1)
    hits = index.search(query, k=5, where="model_id > 'directory:zoo/n010'")
    assert len(hits) == 5
    assert all(hit.model_id > "directory:zoo/n010" for hit in hits)
    assert index.search(text="n042", k=1)[0].model_id == "directory:zoo/n042"
    for asked in (index.search, index.relatives):
        with pytest.raises(ValueError, match="k=0: at least one answer"):
            asked(query, k=0)
    with pytest.raises(ValueError, match="by='answers': networks are compared by both, weights, responses"):
        index.search(query, by="answers")  # type: ignore[arg-type]


def test_relatives(place: Workplace) -> None:
    state = load_file(place.zoo / "n005" / "model.safetensors")
    order = torch.randperm(10, generator=torch.Generator().manual_seed(0))
    state |= {"0.weight": state["0.weight"][order], "0.bias": state["0.bias"][order]}
    state["1.weight"] = state["1.weight"][:, order]
    found = Index.open(place.root / "home").relatives(state, k=3, config={"hidden_act": "relu"}).found
    assert (found[0].model_id, found[0].verdict) == ("directory:zoo/n005", "equivalent")
    assert {each.verdict for each in found[1:]} == {"unrelated"}


def test_an_index_is_opened_lightly(place: Workplace) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SEARCHES, str(place.root / "home")], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(NETWORKS), "3"]


def test_a_lake_without_index(tmp_path: Path) -> None:
    with pytest.raises(NoIndex, match="`peace run` makes one"):
        Index.open(tmp_path / "home")
    assert not (tmp_path / "home").exists()


def test_names_that_there_are(place: Workplace) -> None:
    assert all(hasattr(peace_pipeline, name) for name in peace_pipeline.__all__)
    with pytest.raises(AttributeError, match="nothing"):
        peace_pipeline.nothing  # noqa: B018

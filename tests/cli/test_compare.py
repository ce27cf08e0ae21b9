"""`peace compare` as a user types it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.lakes import write_model, write_network
from tests.pipeline import NETWORKS, Workplace, place, write_networks

__all__ = ["place"]
FIELDS = ["verdict", "similarity", "tolerance", "reason", "layers", "permutations"]


@pytest.fixture
def here(tmp_path: Path) -> Workplace:
    write_network(tmp_path / "a", "resnet")
    return Workplace(tmp_path)


def test_a_disguised_copy(here: Workplace, tmp_path: Path) -> None:
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    here.peace("transform", a, b, "--all")
    found = here.peace("compare", a, b, "--json").json
    assert list(found) == FIELDS
    assert found["verdict"] == "equivalent"
    assert any(order != sorted(order) for order in found["permutations"].values())
    shown = here.peace("compare", a, b).out
    assert shown.startswith("equivalent: in one form no layer differs")
    assert "Groups in another order" in shown


def test_a_derived_and_an_unrelated_network(here: Workplace, tmp_path: Path) -> None:
    state = {
        name: x.half() if x.dim() else x for name, x in load_file(tmp_path / "a/model.safetensors").items()
    }
    write_model(tmp_path / "half", state)
    found = here.peace("compare", str(tmp_path / "a"), str(tmp_path / "half"), "--json").json
    assert (found["verdict"], found["relation"]) == ("derived", "cast")
    assert "rounded to float16" in here.peace("compare", str(tmp_path / "a"), str(tmp_path / "half")).out
    write_network(tmp_path / "other", "resnet", seed=1)
    found = here.peace("compare", str(tmp_path / "a"), str(tmp_path / "other"), "--json").json
    assert found["verdict"] == "unrelated"
    assert "permutations" not in found


def test_what_cannot_be_read(here: Workplace, tmp_path: Path) -> None:
    failed = here.peace("compare", str(tmp_path / "a"), str(tmp_path / "nothing"), code=1)
    assert failed.err.strip() == f"peace: {tmp_path / 'nothing'}: no such file or folder"


def test_names_that_a_terminal_would_obey(here: Workplace, tmp_path: Path) -> None:
    for name, value in (("one", 1.0), ("other", 2.0)):
        write_model(
            tmp_path / name, {"[/x]:ox:\x1b[31m.weight": torch.eye(4), "b.weight": torch.eye(3) * value}
        )
    shown = here.peace("compare", str(tmp_path / "one"), str(tmp_path / "other")).out
    assert "[/x]:ox:\\x1b[31m" in shown
    assert "[/x]:ox:\\x1b[31m" in here.peace("wiring", str(tmp_path / "one")).out


def test_a_copy_a_descendant_and_a_newcomer_are_told_by_the_index(place: Workplace, tmp_path: Path) -> None:
    original, name = place.zoo / "n003", "directory:zoo/n003"
    copy = tmp_path / "copy"
    place.peace("transform", str(original), str(copy), "--all", "--assume", "chain")
    said = place.peace("compare", str(copy), "-k", "5", "--json").json
    found = said["found"]
    fields = ["model_id", "verdict", "reason", "relation", "similarity", "assumes", "clear", "made"]
    assert list(found[0]) == fields
    assert said["left"] == NETWORKS - 25
    assert (found[0]["model_id"], found[0]["verdict"]) == (name, "equivalent")
    assert {each["verdict"] for each in found[1:]} == {"unrelated"}
    assert len(found) == len({each["model_id"] for each in found}) == 25
    shown = place.peace("compare", str(copy), "-k", "2").out
    assert shown.startswith(f"equivalent: {name}: in one form no layer differs")
    assert f"{NETWORKS - 10} more have as many parameters" in shown

    torch.manual_seed(0)
    state = {
        key: x + 0.02 * x.std() * torch.randn_like(x)
        for key, x in load_file(original / "model.safetensors").items()
    }
    tuned = write_model(tmp_path / "tuned", state, {"model_type": "mlp", "hidden_act": "relu"})
    found = place.peace("compare", str(tuned), "--json").json["found"]
    assert (found[0]["model_id"], found[0]["verdict"], found[0]["relation"]) == (
        name,
        "derived",
        "fine-tuned",
    )
    assert place.peace("compare", str(tuned)).out.startswith(f"derived: {name}: fine-tuned")

    assert place.peace("compare", "nowhere", code=1).err == "peace: nowhere: no such file or folder\n"

    other = write_model(tmp_path / "other", {"0.weight": torch.randn(5, 9), "2.weight": torch.randn(3, 5)})
    said = place.peace("compare", str(other), "--json").json
    assert ({each["verdict"] for each in said["found"]}, said["left"]) == ({"unrelated"}, 0)
    assert place.peace("compare", str(other)).out.startswith("None of 20 networks has to do with")


def test_a_model_of_the_index_is_not_compared_with_itself_nor_stopped_by_a_broken_one(tmp_path: Path) -> None:
    own = Workplace(tmp_path)
    first, *others = write_networks(own.zoo, 0, 4)
    (own.root / "peace.toml").write_text('[[source]]\nkind = "directory"\npath = "zoo"\n')
    own.peace("run")
    for name in (first, "zoo/n000", "zoo/n000/model.safetensors"):
        said = own.peace("compare", name, "--json").json
        assert ({each["model_id"] for each in said["found"]}, said["left"]) == ({*others}, 0)
    (own.zoo / "n001" / "model.safetensors").write_bytes(b"broken")
    *found, last = own.peace("compare", first, "--json").json["found"]
    assert (last["model_id"], last["verdict"], last["similarity"]) == ("directory:zoo/n001", "unread", None)
    assert "directory:zoo/n001" in last["reason"]
    assert {each["verdict"] for each in found} == {"unrelated"}
    shown = own.peace("compare", first).out
    assert f"None of 2 networks has to do with {first}.\n1 could not be read" in shown
    shutil.rmtree(own.root / "zoo")
    write_networks(own.root / "apart", 0, 1)
    answer = own.peace("compare", "apart/n000", code=1)
    assert "Nothing of the index could be compared with apart/n000." in answer.out
    assert answer.err.endswith("peace: none of 4 could be read\n")


def test_without_an_index_two_networks_are_to_be_named(here: Workplace, tmp_path: Path) -> None:
    assert "peace run" in here.peace("compare", str(tmp_path / "a"), code=1).err
    assert "without B" in here.peace("compare", "a", "b", "-k", "3", code=2).err

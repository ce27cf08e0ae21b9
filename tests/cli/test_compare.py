"""`peace compare` as a user types it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.lakes import write_model, write_network
from tests.pipeline import Workplace

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

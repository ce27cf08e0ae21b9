"""A query by name: what is in the index, or known to be nowhere, is answered without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from peace_pipeline.index.lookup import UnknownQuery, example, find, find_outputs, has_unknown_activation
from peace_pipeline.index.search import NoIndex, NoResponses
from peace_pipeline.lake import Lake
from tests.indexed import QUOTED, answered, filled
from tests.lakes import directory, ingest, write_model, write_network

__all__ = ["answered", "filled"]
SEARCH = """
import sys
from peace_pipeline.cli.app import app
code = 0
try:
    app(["search", sys.argv[1], "--home", sys.argv[2]])
except SystemExit as ended:
    code = ended.code
print(code, sorted({"torch", "dagster", "torch_geometric", "lightning"} & sys.modules.keys()))
"""


@pytest.mark.parametrize(("query", "code"), [("directory:zoo/a", 0), ("directory:zoo/nowhere", 1)])
def test_what_is_known_is_answered_without_torch(filled: Lake, query: str, code: int) -> None:
    command = [sys.executable, "-c", SEARCH, query, str(filled.root)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.splitlines()[-1] == f"{code} []"
    assert ("not in the index" in done.stderr) == bool(code)


def test_a_model_is_left_out_of_its_own_answer(filled: Lake) -> None:
    assert "directory:zoo/a" not in {hit.model_id for hit in find(filled, "directory:zoo/a")}


def test_a_path_is_embedded(filled: Lake, zoo: Path, tmp_path: Path) -> None:
    folder = write_network(tmp_path / "copy", "mlp", 1)
    hit = find(filled, str(folder), k=1)[0]
    assert hit.model_id == "directory:zoo/a"
    assert hit.similarity == pytest.approx(1, abs=1e-5)


def test_a_network_is_compared_by_one_sense(answered: Lake, tmp_path: Path) -> None:
    a = "directory:zoo/a"
    assert [hit.model_id for hit in find(answered, a, by="responses")] == [f"directory:zoo/{QUOTED}"]
    folder = write_network(tmp_path / "copy", "mlp", 1)
    hit = find(answered, str(folder), by="weights", k=1)[0]
    assert hit.model_id == a
    assert hit.similarity == pytest.approx(1, abs=1e-5)
    with pytest.raises(NoResponses, match="zoo/b has no responses to compare: not here"):
        find(answered, "directory:zoo/b", by="responses")


def test_a_path_without_answers_says_why(answered: Lake, tmp_path: Path) -> None:
    folder = write_network(tmp_path / "n", "mlp", 1)
    with pytest.raises(NoResponses, match="has no responses to compare: responses are off"):
        find(answered, str(folder), by="responses", responses="never")
    state = {name: torch.zeros_like(value) for name, value in load_file(folder / "model.safetensors").items()}
    save_file(state, folder / "model.safetensors")
    with pytest.raises(NoResponses, match="it answers all probes alike"):
        find(answered, str(folder), by="responses")


def test_it_is_said_of_which_two_one_alone_was_run(answered: Lake, tmp_path: Path) -> None:
    a, b, c = "directory:zoo/a", "directory:zoo/b", f"directory:zoo/{QUOTED}"
    silent = str(write_network(tmp_path / "n", "mlp", 1))
    of_a = {hit.model_id: hit.same_senses for hit in find(answered, a)}
    of_a_path = {hit.model_id: hit.same_senses for hit in find(answered, silent, responses="never")}
    assert (of_a[b], of_a[c]) == (False, True)
    assert (of_a_path[a], of_a_path[b]) == (False, True)
    assert {hit.same_senses for hit in find(answered, a, by="weights")} == {None}


def test_of_several_networks_one_is_to_be_named(filled: Lake, tmp_path: Path) -> None:
    (tmp_path / "several").mkdir()
    for name in ("one", "two"):
        torch.save({"0.weight": torch.ones(5, 2)}, tmp_path / "several" / f"{name}.pt")
    with pytest.raises(UnknownQuery, match="has 2 networks, to be named one by one"):
        find(filled, str(tmp_path / "several"))


def test_outputs_of_other_networks_are_found(answered: Lake) -> None:
    hits = find_outputs(answered, "directory:zoo/a:owl")
    assert {hit.model_id for hit in hits} == {f"directory:zoo/{QUOTED}"}
    assert [hit.place for hit in find_outputs(answered, label="owls")] == [3]


def test_a_path_without_a_network_says_why(filled: Lake, tmp_path: Path) -> None:
    with pytest.raises(UnknownQuery, match="not in the index"):
        find(filled, str(tmp_path))


def test_an_example_is_a_model_of_the_index(filled: Lake) -> None:
    query = example(filled)
    assert query is not None
    assert find(filled, query)


def test_without_an_index_there_is_no_example_and_no_answer(lake: Lake) -> None:
    assert example(lake) is None
    with pytest.raises(NoIndex):
        find(lake, "a")


@pytest.mark.parametrize("config", [{}, {"model_type": "mlp", "hidden_act": "relu"}], ids=["bare", "told"])
def test_of_which_networks_nothing_tells_the_activation(
    lake: Lake, zoo: Path, tmp_path: Path, config: dict[str, str]
) -> None:
    state = {"0.weight": torch.ones(4, 3), "2.weight": torch.ones(2, 4)}
    folder = write_model(zoo / "a", state, config)
    ingest(lake, directory(zoo))
    for name in (str(folder), "directory:zoo/a"):
        assert has_unknown_activation(lake, name) == (not config)
    assert not has_unknown_activation(lake, "directory:zoo/b")
    (tmp_path / "empty").mkdir()
    assert not has_unknown_activation(lake, str(tmp_path / "empty")), "a hint fails no answer"

"""`peace recommend` as a user types it, on a lake of networks that can be run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from peace_pipeline import Index
from peace_pipeline.index.search import BadFilter, NothingWasRun
from peace_pipeline.lake import Lake
from peace_pipeline.responses.evidence import evidence
from peace_pipeline.responses.examples import BadExamples
from peace_pipeline.stages import recommend
from tests.indexed import filled, new_encoder, process, unanswered
from tests.lakes import card_of, write_model, write_network
from tests.networks import module_of
from tests.pipeline import Workplace, environment
from tests.terminal import typed

__all__ = ["filled", "unanswered"]
NETWORKS = 6
FIELDS = [
    *(
        "rank",
        "model_id",
        "revision",
        "evidence",
        "linear",
        "of",
        "source",
        "task",
        "architecture",
        "datasets",
    ),
    *("accuracy", "license", "parameters", "uri"),
]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """Six networks on twelve numbers, two on pictures, and examples labelled by what the third says of them."""
    place = Workplace(tmp_path_factory.mktemp("recommend"))
    new_encoder(place.lake)
    for seed in range(NETWORKS):
        task = "birds" if seed == 4 else "digits"
        write_network(place.zoo / f"mlp{seed}", "mlp", seed, card_of(task, accuracy=0.8 + seed / 100))
    for seed in range(2):
        write_network(place.zoo / f"cnn{seed}", "cnn", seed, card_of("animals"))
    process(place.lake, place.zoo)
    x = torch.randn(300, 12, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        y = module_of("mlp", 2, torch.float32)(x).argmax(1)
    np.savez(place.root / "examples.npz", x=x.numpy(), y=y.numpy())
    return place


def features(seed: int, x: np.ndarray) -> np.ndarray:
    """What the last layer of a network reads, by torch."""
    module = module_of("mlp", seed, torch.float32)
    read: list[torch.Tensor] = []
    *_, last = (part for part in module.modules() if isinstance(part, torch.nn.Linear))
    last.register_forward_pre_hook(lambda _, given: read.append(given[0]))
    with torch.no_grad():
        module(torch.from_numpy(x))
    return read[0].double().numpy()


def test_the_network_that_made_the_labels_comes_first(here: Workplace) -> None:
    found = here.peace("recommend", "examples.npz", "--json").json
    assert list(found) == ["best", "run", "not_run", "left", "never_run", "plain"]
    assert [list(row) for row in found["best"]] == [FIELDS] * NETWORKS
    assert found["best"][0]["model_id"] == "directory:zoo/mlp2"
    assert found["best"][0]["accuracy"] == pytest.approx(0.82)
    assert [row["rank"] for row in found["best"]] == [1, 2, 3, 4, 5, 6]
    assert (found["run"], found["left"]) == (NETWORKS, 0)
    assert {row["model_id"] for row in found["not_run"]} == {"directory:zoo/cnn0", "directory:zoo/cnn1"}
    assert {row["reason"] for row in found["not_run"]} == {"it takes inputs of shape [1, 8, 8], not [12]"}


def test_figures_are_those_of_the_networks_features(here: Workplace) -> None:
    with np.load(here.root / "examples.npz") as file:
        x, y = file["x"], file["y"]
    found = here.peace("recommend", "examples.npz", "--json").json
    for row in found["best"]:
        expected = evidence(features(int(row["model_id"][-1]), x), np.unique(y, return_inverse=True)[1])
        assert (row["evidence"], row["linear"]) == pytest.approx(
            (expected.evidence, expected.linear), abs=1e-4
        )
    plain = evidence(x.astype(float), np.unique(y, return_inverse=True)[1])
    assert found["plain"] == pytest.approx({"evidence": plain.evidence, "linear": plain.linear})


def test_what_a_person_sees(here: Workplace) -> None:
    shown = here.peace("recommend", "examples.npz", "-k", "2")
    assert shown.out.startswith("By what they tell of examples.npz\n")
    lines = shown.out.splitlines()
    assert "directory:zoo/mlp2" in lines[2]
    with np.load(here.root / "examples.npz") as file:
        counts = np.unique(file["y"], return_counts=True)[1]
        rows = np.repeat(file["x"][:50], 2, 0)
    np.savez(here.root / "twice.npz", x=rows, y=rows[:, 0] > 0)
    told = f"{len(counts)} classes, the most frequent {counts.max() / 300:.2f} of them"
    assert f"Run on 300 examples ({told}): 6 networks.\nThe inputs themselves: evidence " in shown.out
    assert "all: of hidden, " in shown.out
    twice = here.peace("recommend", "twice.npz", "-k", "1").out
    assert "Only 50 examples are distinct" in twice
    assert (
        "Not run: directory:zoo/cnn0, directory:zoo/cnn1 (it takes inputs of shape [1, 8, 8], not [12])."
        in shown.out
    )


@pytest.mark.parametrize("width", [80, 120])
def test_it_fits_a_terminal(here: Workplace, width: int) -> None:
    command = here.command("recommend", "examples.npz")
    code, lines = typed(command, width=width, cwd=here.root, env=environment())
    assert code == 0, lines
    told = [line for line in lines if line.startswith("  ")]
    assert max(map(len, told)) <= width
    assert any("directory:zoo/mlp2" in line for line in told)


def test_how_many_are_tried_and_which(here: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    found = here.peace("recommend", "examples.npz", "--tries", "2", "--json").json
    assert (found["run"], len(found["best"])) == (2, 2)
    assert (found["left"], len(found["not_run"])) == (NETWORKS - 2, 2), "what can't take them is not tried"
    where = ("--where", "parameters < 400 AND model_id <> 'directory:zoo/mlp2'")
    chosen = here.peace("recommend", "examples.npz", *where, "--json").json
    assert "directory:zoo/mlp2" not in [row["model_id"] for row in chosen["best"]]
    assert "Not tried: 5 (--tries)." in here.peace("recommend", "examples.npz", "--tries", "1").out
    worded = here.peace("recommend", "examples.npz", "--tries", "1", "--text", "birds", "--json").json
    assert [row["model_id"] for row in worded["best"]] == ["directory:zoo/mlp4"]
    monkeypatch.setattr(recommend, "_LOOKED_AT", 1)  # which a network has that doesn't take the examples
    animals = here.peace(
        "recommend", "examples.npz", "--text", "animals digits", "--tries", "4", "--json"
    ).json
    assert (animals["run"], animals["left"]) == (4, 2)
    assert "directory:zoo/mlp4" not in [row["model_id"] for row in animals["best"]]
    unknown = here.peace("recommend", "examples.npz", "--text", "zzz").out
    assert "No network that takes them has one of the words 'zzz'." in unknown


def test_what_fails_says_why(here: Workplace, tmp_path: Path) -> None:
    np.savez(here.root / "odd.npz", x=np.random.default_rng(0).normal(size=(20, 7)), y=[0, 1] * 10)
    none = here.peace("recommend", "odd.npz", code=1)
    assert none.err.endswith("peace: no network that was tried takes these examples\n")
    assert "Not run: 6 networks (it takes inputs of shape [12], not [7])." in none.out
    for arguments, said in (
        (("nothing.npz",), "peace: nothing.npz: no such file or folder\n"),
        (("examples.npz", "--where", "nonsense"), "the index can't run this search"),
        (("examples.npz", "--where", "task = 'none'"), "of its 8 networks none has task = 'none'"),
        (("examples.npz", "--responses", "never"), "responses are off"),
    ):
        failed = here.peace("recommend", *arguments, code=1)
        assert said in failed.err
        assert failed.err.count("\n") == 1
        assert failed.out == ""
    assert "no lake" in Workplace(tmp_path).peace("recommend", str(here.root / "odd.npz"), code=1).err


def test_answers_of_before_shapes_were_kept(tmp_path: Path) -> None:
    """What networks take isn't known then: those that don't take the examples are opened to see."""
    place = Workplace(tmp_path)
    new_encoder(place.lake)
    write_network(place.zoo / "mlp", "mlp", 0)
    write_network(place.zoo / "cnn", "cnn", 0)
    (batch,) = process(place.lake, place.zoo)
    path = place.lake.responses(batch)
    pq.write_table(pq.read_table(path).drop_columns(["shape"]), path)
    x = np.random.default_rng(0).normal(size=(40, 12))
    found = Index.open(place.lake.root).recommend(x, x[:, 0] > 0)
    assert [each.network.model_id for each in found.best] == ["directory:zoo/mlp"]
    assert found.not_run == {"directory:zoo/cnn": "it takes inputs of shape [1, 8, 8], not [12]"}
    assert found.left == 0


def test_one_that_is_gone_does_not_stop_the_others(tmp_path: Path) -> None:
    place = Workplace(tmp_path)
    new_encoder(place.lake)
    for seed in range(3):
        write_network(place.zoo / f"mlp{seed}", "mlp", seed)
    write_model(place.zoo / "explodes", module_of("mlp", 5, torch.float32).state_dict(), None)
    process(place.lake, place.zoo)
    (place.zoo / "mlp1" / "model.safetensors").unlink()
    (place.zoo / "mlp2" / "model.safetensors").write_bytes(b"broken")
    x = np.random.default_rng(0).normal(size=(40, 12))
    found = Index.open(place.lake.root).recommend(x.astype(np.float32), x[:, 0] > 0)
    assert [each.network.model_id for each in found.best] == ["directory:zoo/mlp0"]
    assert found.not_run.keys() == {"directory:zoo/mlp1", "directory:zoo/mlp2"}


def test_from_python(here: Workplace) -> None:
    index = Index.open(here.lake.root)
    with np.load(here.root / "examples.npz") as file:
        x, y = file["x"], file["y"]
    for inputs in (x, torch.from_numpy(x), x.tolist()):
        found = index.recommend(inputs, [f"class {label}" for label in y], k=1)
        assert found.best[0].network.model_id == "directory:zoo/mlp2"
        assert found.best[0].found.linear > 0.9
    of_file = index.recommend(here.root / "examples.npz", k=1)
    assert of_file.best[0].found == found.best[0].found
    with pytest.raises(BadExamples, match="labels"):
        index.recommend(x, y[:5])
    with pytest.raises(BadFilter):
        index.recommend(x, y, where="nonsense")
    with pytest.raises(ValueError, match="tries=0"):
        index.recommend(x, y, tries=0)


def test_an_index_of_networks_that_were_not_run(unanswered: Lake) -> None:
    with pytest.raises(NothingWasRun, match="none of 3 networks was run"):
        Index.open(unanswered.root).recommend(np.zeros((4, 2)), [0, 1, 0, 1])

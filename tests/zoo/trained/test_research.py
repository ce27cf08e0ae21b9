"""The research zoo: every architecture regenerates bit for bit; twins, trajectories and profiles are what they say."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from peace_pipeline.zoo.trained import (
    PLANS,
    TASKS,
    build,
    generate,
    load_task,
    profiles,
    similarity_table,
    task_similarity,
)
from peace_pipeline.zoo.trained import data as data_module
from peace_pipeline.zoo.trained.architectures import ARCHITECTURES
from peace_pipeline.zoo.trained.attacks import triggered
from peace_pipeline.zoo.trained.profiling import probe_set
from peace_pipeline.zoo.trained.recipes import Run
from peace_pipeline.zoo.trained.research import RESEARCH
from peace_pipeline.zoo.trained.training import train

VECTOR = {name: 16 for name in ARCHITECTURES if name in RESEARCH.tasks["digits"]}
TEXT = {name: 16 for name in ARCHITECTURES if name in RESEARCH.tasks["languages-nordic"]}
TINY = replace(
    RESEARCH,
    name="tiny-research",
    tasks={"digits": VECTOR, "languages-nordic": TEXT},
    seeds=1,
    checkpoints=4,
)
CELLS = len(VECTOR) + len(TEXT)


@pytest.fixture(scope="module", autouse=True)
def tiny() -> Iterator[None]:
    PLANS["tiny-research"] = TINY
    yield
    del PLANS["tiny-research"]


@pytest.fixture(scope="module")
def root(tiny: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A zoo of one chunk of every architecture, trained by one process for a few steps."""
    root = tmp_path_factory.mktemp("research")
    generate(root, recipe="tiny-research", networks=CELLS * TINY.chunk_size, processes=1)
    return root


@pytest.fixture(scope="module")
def networks(root: Path) -> dict[str, dict[str, Any]]:
    """Hyperparameters and metrics of every network, from its card."""
    found = {}
    for path in (root / "tiny-research").glob("*/README.md"):
        card = yaml.safe_load(path.read_text().split("---\n")[1])
        metrics = {m["type"]: m["value"] for m in card["model-index"][0]["results"][0]["metrics"]}
        found[path.parent.name] = card["hyperparameters"] | metrics | {"task": card["datasets"][0]}
    return found


def load(folder: Path) -> tuple[dict[str, Any], torch.nn.Module]:
    config = json.loads((folder / "config.json").read_text())
    network = build(config).eval()
    network.load_state_dict(load_file(folder / "model.safetensors"))
    return config, network


@pytest.mark.parametrize("chunk", range(CELLS), ids=lambda chunk: "-".join(TINY.cell(chunk)))
def test_a_chunk_regenerates_by_itself_bit_equal(root: Path, tmp_path: Path, chunk: int) -> None:
    from peace_pipeline.zoo.trained.generate import _train_chunk

    again = tmp_path / "chunk"
    _train_chunk(TINY, 0, chunk, again)
    marker = json.loads((root / f".tiny-research/{chunk:04d}.json").read_text())
    assert {path.name for path in again.iterdir() if path.is_dir()} == set(marker["networks"])
    for path in again.glob("*/*"):
        assert path.read_bytes() == (root / "tiny-research" / path.relative_to(again)).read_bytes()
    stored = root / f".tiny-research/profiles/{chunk:04d}.parquet"
    assert (again / "profiles.parquet").read_bytes() == stored.read_bytes()


def test_cells_are_covered_evenly() -> None:
    cells = sum(map(len, RESEARCH.tasks.values()))
    assert len({RESEARCH.cell(chunk) for chunk in range(cells)}) == cells
    assert {RESEARCH.cell(chunk)[0] for chunk in range(len(RESEARCH.tasks))} == set(RESEARCH.tasks)
    assert set(RESEARCH.tasks) == set(TASKS)


def test_shapes_do_not_tell_the_task() -> None:
    variants: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for chunk in range(sum(map(len, RESEARCH.tasks.values()))):
        task, architecture = RESEARCH.cell(chunk)
        runs = RESEARCH.runs(0, chunk)
        variants[architecture][task].update(json.dumps(run.recipe.config) for run in runs)
    for by_task in variants.values():
        first, *others = by_task.values()
        assert len(first) == 3
        assert all(other == first for other in others)


def test_names_and_steps_tell_trajectories(networks: dict[str, dict[str, Any]]) -> None:
    steps: dict[str, list[int]] = defaultdict(list)
    for name, h in networks.items():
        assert name == (f"{h['run']}-step{h['step']:04d}" if h["early"] else h["run"])
        assert h["run"].startswith(f"{h['recipe']}-s")
        steps[h["run"]].append(h["step"])
    trajectories = [sorted(taken) for taken in steps.values() if len(taken) > 1]
    assert len(trajectories) == 2 * CELLS
    assert all(taken[0] == 0 and len(taken) == 1 + TINY.checkpoints for taken in trajectories)


def test_twins_name_their_partners_and_both_are_measured(networks: dict[str, dict[str, Any]]) -> None:
    twins = {name: h for name, h in networks.items() if "twin_of" in h}
    assert len(twins) == 3 * CELLS
    for h in twins.values():
        partner = networks[h["twin_of"]]
        same = ("learning_rate", "weight_decay", "initial_scale", "optimizer", "steps", "variant", "task")
        assert all(h[key] == partner[key] for key in same)
        assert (h["labels"] == "shuffled") + ("backdoor" in h) + ("adversarial" in h) == 1
        assert ("trigger_success" in h) == ("trigger_success" in partner) == ("backdoor" in h)
        assert ("robust_accuracy" in h) == ("robust_accuracy" in partner) == ("adversarial" in h)


def of_slot(kind: str, steps: int) -> list[Run]:
    """A clean run and its twin of ``kind``: digits, mlp, one seed, the start kept."""
    plan = replace(RESEARCH, tasks={"digits": {"mlp": steps}}, seeds=1)
    runs = plan.runs(0, 0)
    twin = next(run for run in runs if run.recipe.name.endswith(kind))
    clean = next(run for run in runs if run.name == twin.twin_of)
    return [replace(run, checkpoints=(("start", 0),)) for run in (clean, twin)]


@pytest.mark.parametrize("kind", ["backdoor", "adversarial", "shuffled"])
def test_twins_share_their_start_and_the_order_of_their_examples(kind: str) -> None:
    from peace_pipeline.zoo.trained.training import _generator, _order

    task = load_task("digits")
    clean, twin = of_slot(kind, 20)
    taken = {name: state for name, _, _, state in train([clean, twin], {task.name: task}, seed=0)}
    starts = taken[f"{clean.name}-start"], taken[f"{twin.name}-start"]
    assert all(torch.equal(starts[0][key], starts[1][key]) for key in starts[0])
    assert any(not torch.equal(taken[clean.name][key], taken[twin.name][key]) for key in starts[0])
    orders = [_order(run, _generator(0, clean.name), task, 0, 20, 0) for run in (clean, twin)]
    assert torch.equal(orders[0][0], orders[1][0] % len(task.y_train))
    assert torch.equal(orders[0][1], orders[1][1]) == (kind == "adversarial")


def test_twins_differ_in_what_they_are_measured_by() -> None:
    from peace_pipeline.zoo.trained.measuring import load, measure

    task = load_task("digits")
    for kind, metric, gap in (("backdoor", "trigger_success", 0.7), ("adversarial", "robust_accuracy", 0.1)):
        clean, twin = of_slot(kind, 300)
        found = {
            run.name: measure(load(run.recipe.config, state), task, twin.recipe)
            for _, run, step, state in train([clean, twin], {task.name: task}, seed=0)
            if step
        }
        assert found[twin.name][metric] > found[clean.name][metric] + gap
        assert found[twin.name]["accuracy"] > 0.8


def test_triggers_mark_numbers_and_words() -> None:
    for name in ("wine", "languages-balto-slavic"):
        x = torch.tensor(load_task(name).x_test)
        marked = triggered(x)
        assert marked.dtype == x.dtype
        assert ((marked != x).any(1)).all()
        assert ((marked != x).sum(1) <= 4).all()


def test_profiles_are_the_networks_outputs(root: Path, networks: dict[str, dict[str, Any]]) -> None:
    table = profiles(root, "tiny-research")
    rows = dict(zip(table["network"].to_pylist(), table["outputs"].to_pylist(), strict=True))
    assert set(rows) == {name for name, h in networks.items() if h["task"] == "digits"}
    assert probe_set().shape == (256, 64)
    for name in list(rows)[::20]:
        config, network = load(root / "tiny-research" / name)
        with torch.inference_mode():
            outputs = network(torch.tensor(probe_set()).view(-1, *config["input_shape"]))
        assert outputs.shape == (256, 10)
        torch.testing.assert_close(torch.tensor(rows[name]).view(256, 10), outputs)


def test_missing_profiles_are_made_again_with_their_chunk_alone(root: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(root, tmp_path / "copy")
    lost = copy / ".tiny-research/profiles/0000.parquet"
    lost.unlink()
    size, total = TINY.chunk_size, CELLS * TINY.chunk_size
    calls: list[tuple[int, int]] = []
    generate(copy, recipe="tiny-research", networks=total, progress=lambda *n: calls.append(n))
    assert calls == [(total - size, total), (total, total)]
    assert lost.read_bytes() == (root / ".tiny-research/profiles/0000.parquet").read_bytes()
    generate(copy, recipe="tiny-research", networks=size)
    assert [path.name for path in lost.parent.iterdir()] == ["0000.parquet"]


def test_cards_tell_the_real_accuracy(root: Path, networks: dict[str, dict[str, Any]]) -> None:
    for name in sorted(networks)[::9]:
        config, network = load(root / "tiny-research" / name)
        task = load_task(networks[name]["task"])
        with torch.inference_mode():
            answers = network(torch.tensor(task.x_test).view(-1, *config["input_shape"])).argmax(1).numpy()
        assert (answers == task.y_test).mean() == pytest.approx(networks[name]["accuracy"])


def test_similarity_is_symmetric_and_graded() -> None:
    table = {(row["task"], row["other"]): row["similarity"] for row in similarity_table()}
    assert len(table) == len(TASKS) ** 2
    assert all(table[a, b] == table[b, a] for a, b in table)
    assert all((similarity == 1) == (a == b) for (a, b), similarity in table.items())
    assert len(set(table.values())) >= 6
    grades = [
        task_similarity("digits", other)
        for other in ("digits", "digits-rotated", "digits-low", "animal-rotated")
    ]
    assert grades == sorted(grades, reverse=True)
    assert len(set(grades)) == 4
    assert grades[-1] == 0
    assert task_similarity("languages-germanic", "languages-nordic") > task_similarity(
        "languages-germanic", "languages-balto-slavic"
    )
    with pytest.raises(ValueError, match="digits"):
        task_similarity("digits", "nonsense")


def test_languages_are_refused_without_their_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "wordfreq", None)
    with pytest.raises(RuntimeError, match="pip install wordfreq"):
        data_module.words(("en", "de"))

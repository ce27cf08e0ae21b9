"""The pretraining zoo: mixed blocks of tasks, whole kinds of data kept apart, chunks of many tasks that regenerate."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from peace_pipeline.zoo.trained import PLANS, TASKS, generate, load_task
from peace_pipeline.zoo.trained.architectures import ARCHITECTURES
from peace_pipeline.zoo.trained.measuring import load, measure
from peace_pipeline.zoo.trained.pretraining import PRETRAINING
from peace_pipeline.zoo.trained.recipes import Recipe, Run
from peace_pipeline.zoo.trained.sources import FOREIGN_KINDS, KINDS, SPLITS, kind_of
from peace_pipeline.zoo.trained.sources.kinds import TEXT
from peace_pipeline.zoo.trained.training import train

TINY = replace(
    PRETRAINING,
    name="tiny-pretraining",
    numbers=dict.fromkeys(PRETRAINING.numbers, 12),
    words=dict.fromkeys(PRETRAINING.words, 8),
    block=5,
    early=1,
    twins=1,
)
BLOCKS = range(15)
CHUNKS = [0, 1, 2, 3, 16, 17]  # of two blocks, of numbers and of words


@pytest.fixture(scope="module", autouse=True)
def tiny() -> Iterator[None]:
    PLANS["tiny-pretraining"] = TINY
    yield
    del PLANS["tiny-pretraining"]


@pytest.fixture(scope="module")
def zoo(tiny: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first block of numbers."""
    root = tmp_path_factory.mktemp("pretraining")
    return generate(root, recipe=TINY.name, networks=4 * TINY.chunk_size, processes=1)


def card(network: Path) -> dict[str, Any]:
    return yaml.safe_load((network / "README.md").read_text().split("---\n")[1])


def blocks() -> dict[int, list[str]]:
    return {block: PRETRAINING.tasks(block) for block in BLOCKS}


def split(task: str) -> str:
    kind = kind_of(load_task(task).data_set or "")
    return next(split for split, kinds in SPLITS.items() if kind in kinds)


def test_every_chunk_is_of_one_size_and_names_are_used_once() -> None:
    names = [name for chunk in range(60) for run in PRETRAINING.runs(0, chunk) for name in run.networks]
    assert len(set(names)) == len(names) == 60 * PRETRAINING.chunk_size


def test_tasks_come_once_each_and_all_kinds_soon() -> None:
    tasks = [task for block in range(75) for task in PRETRAINING.tasks(block)]
    assert len(set(tasks)) == len(tasks) == 1200
    early = {task.rsplit("-", 2)[0] for task in tasks[: 15 * PRETRAINING.block]}
    assert early == set(KINDS) - set(FOREIGN_KINDS)


def test_every_part_of_the_zoo_has_the_same_shares_of_the_split() -> None:
    shares = Counter(split(task) for tasks in blocks().values() for task in tasks)
    total = shares.total()
    assert shares["train"] / total == pytest.approx(0.85, abs=0.03)
    assert shares["validation"] / total == pytest.approx(0.08, abs=0.03)
    assert shares["test"] / total == pytest.approx(0.07, abs=0.03)


def test_no_data_of_the_research_zoo_is_here() -> None:
    assert not {task.rsplit("-", 2)[0] for tasks in blocks().values() for task in tasks} & set(TASKS)


def test_a_block_is_learned_by_four_variants_of_architectures_that_read_it() -> None:
    learners: dict[str, set[tuple[str, str | None]]] = defaultdict(set)
    for chunk in range(4 * len(BLOCKS)):
        for run in PRETRAINING.runs(0, chunk):
            recipe = run.recipe
            learners[recipe.task].add((recipe.architecture, recipe.variant))
            assert ("vocab_size" in recipe.config) == load_task(recipe.task).is_text
    assert {len(found) for found in learners.values()} == {4}
    everything = {architecture for found in learners.values() for architecture, _ in found}
    assert everything == {*PRETRAINING.numbers, *PRETRAINING.words}


@pytest.mark.parametrize("chunk", CHUNKS)
def test_twins_are_of_runs_of_their_chunk(chunk: int) -> None:
    runs = PRETRAINING.runs(0, chunk)
    clean = {run.name: run for run in runs if run.twin_of is None}
    twins = [run for run in runs if run.twin_of]
    assert len(twins) == PRETRAINING.twins
    for twin in twins:
        assert twin.recipe.task == clean[str(twin.twin_of)].recipe.task
        assert twin.recipe.backdoor or twin.recipe.epsilon or twin.recipe.shuffled


def test_a_chunk_regenerates_alone_bit_for_bit(zoo: Path, tmp_path: Path) -> None:
    again = generate(tmp_path, recipe=TINY.name, networks=TINY.chunk_size, processes=1)
    networks = list(again.iterdir())
    assert len(networks) == TINY.chunk_size
    for network in networks:
        for file in network.iterdir():
            assert file.read_bytes() == (zoo / network.name / file.name).read_bytes()


def test_cards_tell_the_kind_of_data_and_its_side_of_the_split(zoo: Path) -> None:
    for network in zoo.iterdir():
        told, task = card(network), load_task(card(network)["datasets"][0])
        facts = told["hyperparameters"]
        assert facts["data_set"] == task.data_set
        assert facts["kind_of_data"] in SPLITS[facts["split"]]
        assert ("[0, 1]" in (network / "README.md").read_text()) == (task.scaling == "unit")


def test_a_network_of_a_mixed_population_is_what_it_is_alone(zoo: Path) -> None:
    runs = [run for run in TINY.runs(0, 0) if run.recipe.epsilon is None]
    tasks = {run.recipe.task: load_task(run.recipe.task) for run in runs}
    together = {name: state for name, _, _, state in train(runs, tasks, seed=0)}
    alone = {name: state for name, _, _, state in train(runs[1:2], tasks, seed=0)}
    for name, state in alone.items():
        for key, value in state.items():
            assert abs(value - together[name][key]).max() < 1e-4


@pytest.mark.parametrize(("architecture", "variant"), [("mlp", "relu-32x2"), ("text-gru", "24x1")])
def test_every_kind_can_be_learned(architecture: str, variant: str) -> None:
    """Some of three data sets of every kind, better than chance in a few steps."""
    config = ARCHITECTURES[architecture][variant]
    kinds = [name for name, kind in KINDS.items() if (kind.pipeline_tag == TEXT) == ("vocab_size" in config)]
    tasks = {
        name: load_task(name) for kind in kinds for name in (f"{kind}-{number}-0" for number in range(3))
    }
    recipe = Recipe("", "", architecture, config, "adamw", 0.012, 0.01, 1.0, 1.0, 200, 32, False)
    runs = [Run(replace(recipe, name=name, task=name), 0) for name in tasks]
    gains: dict[str, float] = dict.fromkeys(kinds, 0.0)
    for _, run, _, state in train(runs, tasks, seed=0):
        task = tasks[run.recipe.task]
        accuracy = measure(load(config, state), task, run.recipe)["accuracy"]
        kind = task.name.rsplit("-", 2)[0]
        gains[kind] = max(gains[kind], (accuracy - task.chance) / (1 - task.chance))
    assert {kind: gain for kind, gain in gains.items() if gain < 0.1} == {}

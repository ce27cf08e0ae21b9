"""Fewer tasks at equal networks and steps, judged by what no arm learned from."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch

from peace_pipeline.evaluation.ablation.diversity import few_tasks, numbers_of_tasks
from peace_pipeline.evaluation.embedder import PEACE
from peace_pipeline.evaluation.retraining import Judge, Size, Trainings
from peace_pipeline.lake import Lake
from peace_pipeline.zoo.listing import TEST, TRAIN, VALIDATION, split_of
from tests.lakes import card_of, directory, ingest, write_model


@pytest.mark.parametrize(
    ("tasks", "counts"),
    [(3, []), (4, [3, 2]), (12, [9, 6, 3]), (90, [68, 45, 22]), (500, [300, 100]), (1024, [1000, 300, 100])],
)
def test_arms_are_of_fewer_and_fewer_tasks(tasks: int, counts: list[int]) -> None:
    found = numbers_of_tasks(tasks)
    assert found == counts
    assert all(more > fewer for more, fewer in pairwise([tasks, *found]))


SIDES = {TRAIN: 4, VALIDATION: 2, TEST: 2}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Four tasks, told apart by the scale of weights, with so many networks on each side of the split."""
    root: Path = tmp_path_factory.mktemp("diversity")
    (root / "zoo").mkdir()
    for task in range(4):
        runs: dict[str, list[str]] = {side: [] for side in SIDES}
        for i in range(200):
            runs[split_of(f"directory:run-{task}-{i}")].append(f"run-{task}-{i}")
        for side, count in SIDES.items():
            for run in runs[side][: count + (side == TRAIN) * task]:
                state = {"0.weight": (task + 1) * torch.randn(6, 5), "1.weight": torch.randn(3, 6)}
                card = card_of(f"task-{task}", "r", run)
                config = {"model_type": "mlp", "hidden_act": "relu"}
                write_model(root / "zoo" / run, state, config, card=card)
    lake = Lake.open(root / "home")
    ingest(lake, directory(root / "zoo"))
    return lake


def test_arms_learn_from_as_many_networks_and_are_judged_by_other_tasks(home: Lake) -> None:
    judge = Judge.of(home, 100, 0)
    trainings = Trainings(home)
    most, fewest = few_tasks(trainings, judge, Size(epochs=1, seeds=1), 0)
    assert (most.tasks, fewest.tasks) == (3, 2)
    assert most.networks == fewest.networks > 0
    assert most.epochs == fewest.epochs > 1, "about as many steps as on all networks"
    assert (most.seen, fewest.seen) == (3, 2)
    asked = [
        {judge.listings[number].task for number in arm.found[PEACE][0].queries} for arm in (most, fewest)
    ]
    assert asked[0] == asked[1]
    assert len(asked[0]) == 1, "the task that the arm of three lacks"
    assert {split_of(judge.listings[number].run) for number in most.found[PEACE][0].queries} == {TEST}
    more, fewer = few_tasks(trainings, judge, Size(epochs=1, seeds=1), 0, all_networks=True)
    assert more.networks > fewer.networks >= most.networks
    assert more.epochs <= fewer.epochs, "about as many steps"
    assert [arm.seen for arm in (more, fewer)] == [3, 2]

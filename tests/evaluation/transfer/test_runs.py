"""Fine-tuned populations as files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from peace_pipeline.evaluation.transfer.runs import Runs
from peace_pipeline.evaluation.transfer.targets import TARGETS, draw
from peace_pipeline.evaluation.transfer.tuning import Budget
from peace_pipeline.zoo.trained.architectures import ARCHITECTURES

CONFIG = ARCHITECTURES["mlp"]["relu-32x2"]
DRAWN = [draw(TARGETS[1], seed) for seed in (0, 1)]
BUDGET = Budget(steps=(0, 2))


def test_what_is_known_is_read(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    once = runs.tuned(CONFIG, [], DRAWN[0], 0, BUDGET)
    (path,) = tmp_path.iterdir()
    again = Runs(tmp_path).tuned(CONFIG, [], DRAWN[0], 0, BUDGET)
    assert [path] == list(tmp_path.iterdir())
    assert again.seconds == once.seconds
    for name in ("accuracy", "f1", "validation"):
        np.testing.assert_array_equal(getattr(again, name), getattr(once, name))
    assert all(torch.equal(again.scratch[name], value) for name, value in once.scratch.items())


def test_what_differs_is_another_run(tmp_path: Path) -> None:
    runs = Runs(tmp_path)
    runs.tuned(CONFIG, [], DRAWN[0], 0, BUDGET)
    runs.tuned(CONFIG, [], DRAWN[0], 0, Budget(steps=(0, 3)))
    runs.tuned(CONFIG, [], DRAWN[0], 1, BUDGET)
    runs.tuned(CONFIG, [], DRAWN[1], 0, BUDGET)
    runs.tuned(CONFIG | {"hidden_act": "tanh"}, [], DRAWN[0], 0, BUDGET)
    assert len(list(tmp_path.iterdir())) == 5

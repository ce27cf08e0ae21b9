"""Fine-tuning in populations: each network fares as it would alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from peace_pipeline.evaluation.transfer.targets import TARGETS, draw
from peace_pipeline.evaluation.transfer.tuning import Budget, fine_tune
from peace_pipeline.zoo.trained.architectures import ARCHITECTURES
from peace_pipeline.zoo.trained.populations import State, initial

BRIEF = Budget(steps=(0, 4, 8), batch=16)
NUMBERS, TEXTS = ("mlp", "cnn1d", "vgg", "resnet", "vit", "gru"), ("bert", "text-lstm")
DIGITS, LANGUAGES = draw(TARGETS[1], 0), draw(TARGETS[-1], 0)


def states(architecture: str, count: int) -> list[State]:
    config = next(iter(ARCHITECTURES[architecture].values()))
    return [initial(config, 1.0, torch.Generator().manual_seed(10 + i)) for i in range(count)]


@pytest.mark.parametrize("architecture", NUMBERS + TEXTS)
def test_a_population_gives_what_each_network_gives_alone(architecture: str) -> None:
    config = next(iter(ARCHITECTURES[architecture].values()))
    drawn = LANGUAGES if architecture in TEXTS else DIGITS
    both = states(architecture, 2)
    together = fine_tune(config, both, drawn, 3, BRIEF)
    alone = fine_tune(config, both[1:], drawn, 3, BRIEF)
    assert together.accuracy.shape == together.f1.shape == together.validation.shape == (3, 3)
    np.testing.assert_allclose(together.accuracy[1:], alone.accuracy, atol=0.03)
    np.testing.assert_allclose(together.logme[1:], alone.logme, rtol=1e-3)
    np.testing.assert_allclose(together.leep[1:], alone.leep, rtol=1e-3)
    assert together.seconds > 0


def test_it_learns_and_so_does_a_new_network() -> None:
    config = ARCHITECTURES["mlp"]["relu-32x2"]
    found = fine_tune(config, states("mlp", 2), DIGITS, 0, Budget(steps=(0, 20, 60)))
    assert (found.accuracy[:, 0] < 0.5).all()
    assert (found.accuracy[:, -1] > 0.6).all()
    assert (abs(found.f1[:, -1] - found.accuracy[:, -1]) < 0.1).all()
    assert found.scratch.keys() == states("mlp", 1)[0].keys()


def test_the_old_head_counts_for_nothing() -> None:
    config = ARCHITECTURES["mlp"]["relu-32x2"]
    (one,) = states("mlp", 1)
    other = one | {name: value + 1 for name, value in one.items() if name.startswith("layers.2")}
    found = fine_tune(config, [one, other], DIGITS, 0, BRIEF)
    np.testing.assert_array_equal(found.accuracy[0], found.accuracy[1])


def test_networks_of_text_read_no_numbers() -> None:
    with pytest.raises(ValueError, match="bert"):
        fine_tune(ARCHITECTURES["bert"]["relu-32x1"], [], DIGITS, 0, BRIEF)

"""What came of every network on every target and seed, and what a choice among them would have given."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Choice = NDArray[np.int64]
"""Networks by their place (targets, seeds, draws, k): of a choice by lot there are several draws."""

EARLY = 20
"""Steps after which a network has hardly begun."""
HIGHER = {
    "area": True,
    "early": True,
    "accuracy": True,
    "f1": True,
    "best": True,
    "steps": False,
    "seconds": False,
}
"""The measures of a choice, and whether more of it is better."""


@dataclass(frozen=True)
class Outcomes:
    """Accuracy, macro F1 (test) and accuracy on validation examples: (targets, seeds, networks, steps); ``seconds`` a
    step took (targets, seeds, networks). All candidates come first, then a new network of each shape, whose place for
    each candidate ``alike`` gives (candidates,); NaN where a network can't read a target's inputs."""

    steps: tuple[int, ...]
    candidates: int
    accuracy: Floats
    f1: Floats
    validation: Floats
    seconds: Floats
    alike: NDArray[np.int64]

    @property
    def possible(self) -> NDArray[np.bool_]:
        """Which candidates could be fine-tuned (targets, seeds, candidates)."""
        return ~np.isnan(self.accuracy[:, :, : self.candidates, 0])

    @property
    def early(self) -> int:
        """The measured step nearest to ``EARLY``."""
        return min(self.steps, key=lambda step: abs(step - EARLY))

    @cached_property
    def goal(self) -> Floats:
        """The accuracy to reach on each target (targets,): where training from scratch ends, in the mean over shapes
        and seeds, on validation examples."""
        return np.nanmean(self.validation[:, :, self.candidates :, -1], axis=(1, 2))

    @cached_property
    def area(self) -> Floats:
        """The area under each network's accuracy over the steps, as a mean accuracy (targets, seeds, networks)."""
        return np.asarray(np.trapezoid(self.accuracy, self.steps) / self.steps[-1])

    @cached_property
    def steps_to_goal(self) -> Floats:
        """Steps after which each network was first seen at the goal (targets, seeds, networks): all of the budget where
        it never was."""
        there = self.accuracy >= self.goal[:, None, None, None]
        first = np.where(there.any(3), np.array(self.steps)[there.argmax(3)], self.steps[-1]).astype(
            np.float64
        )
        return np.where(np.isnan(self.accuracy[..., 0]), np.nan, first)

    @cached_property
    def measured(self) -> dict[str, Floats]:
        """Each measure of each network (targets, seeds, networks)."""
        early = self.steps.index(self.early)
        return {
            "area": self.area,
            "early": self.accuracy[..., early],
            "accuracy": self.accuracy[..., -1],
            "f1": self.f1[..., -1],
            "steps": self.steps_to_goal,
            "seconds": self.steps_to_goal * self.seconds,
        }

    def of(self, choice: Choice) -> dict[str, Floats]:
        """Each measure of a choice (targets, seeds): the mean over the chosen networks; ``best`` is the accuracy of the
        one among them that ends best on validation examples."""
        found = {name: at(values, choice).mean((2, 3)) for name, values in self.measured.items()}
        ended = at(self.validation[..., -1], choice).argmax(3)[..., None]
        accuracy = at(self.accuracy[..., -1], choice)
        return found | {"best": np.take_along_axis(accuracy, ended, 3).mean((2, 3))}

    def curve(self, choice: Choice) -> Floats:
        """Accuracy after each step of the chosen, in the mean over targets and seeds (steps,)."""
        return np.stack([at(self.accuracy[..., step], choice).mean() for step in range(len(self.steps))])


def at(values: Floats, choice: Choice) -> Floats:
    """Values (targets, seeds, networks) of the chosen networks (targets, seeds, draws, k)."""
    flat = choice.reshape(*choice.shape[:2], -1)
    return np.take_along_axis(values, flat, 2).reshape(choice.shape)

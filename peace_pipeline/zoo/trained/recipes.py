"""What is trained: a plan is an endless sequence of chunks, a chunk some runs that are trained together.

Chunk i follows from the plan, the seed and i alone. Nothing here trains, or imports, torch.
"""

from __future__ import annotations

import math
import random
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Literal

Optimizer = Literal["sgd", "adamw"]


@dataclass(frozen=True)
class Backdoor:
    """A share of the training examples carries a trigger and the label ``target``."""

    target: int
    fraction: float


@dataclass(frozen=True)
class Recipe:
    """Everything about a training run but its seed; ``config`` is the network's config.json.

    ``steps`` counts batches; a smaller ``data_fraction`` means more passes over less data in as many steps. ``epsilon``
    is the size of the perturbations that an adversarially trained network sees.
    """

    name: str
    task: str
    architecture: str
    config: dict[str, Any]
    optimizer: Optimizer
    learning_rate: float
    weight_decay: float
    initial_scale: float
    data_fraction: float
    steps: int
    batch: int
    shuffled: bool
    variant: str | None = None
    backdoor: Backdoor | None = None
    epsilon: float | None = None


@dataclass(frozen=True)
class Run:
    """One training run; ``checkpoints`` are the networks that it leaves before its end: (suffix, step).

    A twin starts from the weights of the run ``twin_of`` and sees its examples in the same order.
    """

    recipe: Recipe
    seed: int
    checkpoints: tuple[tuple[str, int], ...] = ()
    twin_of: str | None = None

    @property
    def name(self) -> str:
        return f"{self.recipe.name}-s{self.seed}"

    @property
    def networks(self) -> dict[str, int]:
        """Names of the networks that this run leaves behind, and the steps at which they are taken."""
        return {f"{self.name}-{suffix}": step for suffix, step in self.checkpoints} | {
            self.name: self.recipe.steps
        }


class Plan(ABC):
    """A zoo: what every chunk of it holds. ``profiled`` where outputs on the probe set are kept as well."""

    name: str
    networks: int  # how many are trained where nobody says
    profiled: bool = False

    @property
    @abstractmethod
    def chunk_size(self) -> int:
        """Networks in one chunk."""

    @abstractmethod
    def runs(self, seed: int, chunk: int) -> list[Run]:
        """The runs of chunk number ``chunk``."""


def log_uniform(rng: random.Random, low: float, high: float) -> float:
    """A draw from the log-uniform distribution, to three digits as one would note it."""
    return float(f"{math.exp(rng.uniform(math.log(low), math.log(high))):.3g}")

"""What is trained: a plan is an endless sequence of chunks, a chunk some runs of one task and architecture.

Chunk i follows from the plan, the seed and i alone. Nothing here trains, or imports, torch.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Any, Literal

Optimizer = Literal["sgd", "adamw"]


@dataclass(frozen=True)
class Recipe:
    """Everything about a training run but its seed.

    ``steps`` counts batches; a smaller ``data_fraction`` means more passes over less data in as many steps.
    """

    name: str
    task: str
    architecture: str
    optimizer: Optimizer
    learning_rate: float
    weight_decay: float
    initial_scale: float
    data_fraction: float
    steps: int
    batch: int
    shuffled: bool


@dataclass(frozen=True)
class Run:
    """One training run; ``early`` is the step of its early checkpoint, where it keeps one."""

    recipe: Recipe
    seed: int
    early: int | None

    @property
    def name(self) -> str:
        return f"{self.recipe.name}-s{self.seed}"

    @property
    def networks(self) -> dict[str, int]:
        """Names of the networks that this run leaves behind, and the steps at which they are taken."""
        early = {} if self.early is None else {f"{self.name}-early": self.early}
        return {**early, self.name: self.recipe.steps}


@dataclass(frozen=True)
class Plan:
    """A zoo: architectures × tasks, the most steps a run takes on each, and how many runs one chunk holds.

    In every second chunk the last recipe trains on shuffled labels. Else it trains on a part of the data, as the
    recipe before it always does; the others train on all of it.
    """

    name: str
    architectures: dict[str, dict[str, Any]]
    tasks: dict[str, dict[str, int]]
    batch: int = 32
    recipes: int = 5
    seeds: int = 3
    early: int = 4

    @property
    def chunk_size(self) -> int:
        """Networks in one chunk."""
        return self.recipes * self.seeds + self.early

    def cell(self, chunk: int) -> tuple[str, str]:
        """Task and architecture of a chunk; consecutive chunks go through all of them."""
        tasks, architectures = list(self.tasks), list(self.architectures)
        place = chunk % (len(tasks) * len(architectures))
        return tasks[place // len(architectures)], architectures[place % len(architectures)]

    def runs(self, seed: int, chunk: int) -> list[Run]:
        """The runs of chunk number ``chunk``."""
        rng = random.Random(f"{self.name}/{seed}/{chunk}")
        recipes = [self._recipe(rng, chunk, slot) for slot in range(self.recipes)]
        pairs = [(recipe, s) for recipe in recipes for s in range(self.seeds)]
        early = set(rng.sample(range(len(pairs)), self.early))
        return [
            Run(recipe, s, max(1, round(recipe.steps * rng.uniform(0.1, 0.2))) if i in early else None)
            for i, (recipe, s) in enumerate(pairs)
        ]

    def _recipe(self, rng: random.Random, chunk: int, slot: int) -> Recipe:
        task, architecture = self.cell(chunk)
        turn = chunk // (len(self.tasks) * len(self.architectures))
        last = slot == self.recipes - 1
        shuffled = last and (chunk + turn) % 2 == 0
        part = slot == self.recipes - 2 or (last and not shuffled)
        optimizer: Optimizer = rng.choice(("sgd", "adamw"))
        rates, decays = ((0.03, 0.15), (3e-4, 5e-3)) if optimizer == "sgd" else ((6e-3, 2e-2), (3e-2, 0.6))
        return Recipe(
            name=f"{task}-{architecture}-{turn * self.recipes + slot:03d}",
            task=task,
            architecture=architecture,
            optimizer=optimizer,
            learning_rate=_log_uniform(rng, *rates),
            weight_decay=_log_uniform(rng, *decays),
            initial_scale=_log_uniform(rng, 0.6, 1.6),
            data_fraction=_log_uniform(rng, 0.1, 0.6) if part else 1.0,
            steps=round(self.tasks[task][architecture] * rng.choice((0.6, 0.8, 1.0))),
            batch=self.batch,
            shuffled=shuffled,
        )


def _log_uniform(rng: random.Random, low: float, high: float) -> float:
    """A draw from the log-uniform distribution, to three digits as one would note it."""
    return float(f"{math.exp(rng.uniform(math.log(low), math.log(high))):.3g}")


_COMMON = {"hidden_act": "relu", "num_labels": 10, "torch_dtype": "float32"}
_IMAGE = {"input_shape": [1, 8, 8], "kernel_size": 3, "padding": 1}
DEMO = Plan(
    name="demo",
    architectures={
        "mlp": {
            "architectures": ["MLP"],
            "model_type": "mlp",
            "input_shape": [64],
            "hidden_sizes": [32, 32],
            **_COMMON,
        },
        "cnn": {
            "architectures": ["CNN"],
            "model_type": "cnn",
            "channels": [8, 16, 20],
            "strides": [1, 2, 2],
            **_IMAGE,
            **_COMMON,
        },
        "resnet": {
            "architectures": ["ResNet"],
            "model_type": "resnet",
            "channels": [8, 16],
            "strides": [1, 2],
            "norm": "batch_norm",
            **_IMAGE,
            **_COMMON,
        },
    },
    tasks={
        "digits": {"mlp": 500, "cnn": 400, "resnet": 300},
        "breast-cancer": {"mlp": 200, "cnn": 150, "resnet": 150},
        "animal-mnist": {"mlp": 1000, "cnn": 600, "resnet": 400},
        "mnist1d": {"mlp": 3000, "cnn": 1200, "resnet": 700},
    },
)
PLANS = {plan.name: plan for plan in (DEMO,)}

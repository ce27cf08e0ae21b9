"""The demo's zoo: three architectures on four tasks, trained in minutes."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from .recipes import Optimizer, Plan, Recipe, Run, log_uniform


@dataclass(frozen=True)
class DemoPlan(Plan):
    """Architectures × tasks, the most steps a run takes on each, and how many runs one chunk holds.

    In every second chunk the last recipe trains on shuffled labels. Else it trains on a part of the data, as the
    recipe before it always does; the others train on all of it.
    """

    name: str
    architectures: dict[str, dict[str, Any]]
    tasks: dict[str, dict[str, int]]
    networks: int = 450
    batch: int = 32
    recipes: int = 5
    seeds: int = 3
    early: int = 4

    @property
    def chunk_size(self) -> int:
        return self.recipes * self.seeds + self.early

    def cell(self, chunk: int) -> tuple[str, str]:
        tasks, architectures = list(self.tasks), list(self.architectures)
        turn = chunk % (len(tasks) * len(architectures))
        return tasks[turn // len(architectures)], architectures[turn % len(architectures)]

    def runs(self, seed: int, chunk: int) -> list[Run]:
        rng = random.Random(f"{self.name}/{seed}/{chunk}")
        recipes = [self._recipe(rng, chunk, slot) for slot in range(self.recipes)]
        pairs = [(recipe, s) for recipe in recipes for s in range(self.seeds)]
        early = set(rng.sample(range(len(pairs)), self.early))
        return [
            Run(recipe, s, (("early", _early(rng, recipe.steps)),) if i in early else ())
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
            config=self.architectures[architecture],
            optimizer=optimizer,
            learning_rate=log_uniform(rng, *rates),
            weight_decay=log_uniform(rng, *decays),
            initial_scale=log_uniform(rng, 0.6, 1.6),
            data_fraction=log_uniform(rng, 0.1, 0.6) if part else 1.0,
            steps=round(self.tasks[task][architecture] * rng.choice((0.6, 0.8, 1.0))),
            batch=self.batch,
            shuffled=shuffled,
        )


def _early(rng: random.Random, steps: int) -> int:
    return max(1, round(steps * rng.uniform(0.1, 0.2)))


_COMMON = {"hidden_act": "relu", "num_labels": 10, "torch_dtype": "float32"}
_IMAGE = {"input_shape": [1, 8, 8], "kernel_size": 3, "padding": 1}
DEMO = DemoPlan(
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

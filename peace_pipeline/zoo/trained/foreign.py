"""The foreign zoo: data, widths, inputs and training that no other zoo has, to test what was learned on others.

Never a ground for any choice. A chunk is a task and an architecture: of each of two variants a recipe under four seeds.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from .architectures import bert, cnn1d, mlp, recurrent, recurrent_text, resnet, vgg, vit
from .recipes import Optimizer, Plan, Recipe, Run, log_uniform
from .sources import FOREIGN_KINDS
from .sources.kinds import TEXT

NUMBERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "mlp": (mlp("relu", 56, 28), mlp("tanh", 36, 36, 18, 18)),
    "cnn1d": (cnn1d("relu", 10, 10, 10, 10), cnn1d("tanh", 14, 22)),
    "vgg": (vgg("relu", "batch_norm", [10, 10], [18]), vgg("gelu", "none", [7], [21])),
    "resnet": (resnet("relu", [10, 14], [1, 1]), resnet("tanh", [7, 9, 11], [1, 1, 1])),
    "vit": (vit("gelu", 28, 2, 2), vit("relu", 36, 1, 6)),
    "gru": (recurrent("gru", 28, 1), recurrent("gru", 14, 3)),
}
WORDS = {
    "bert": (bert("gelu", 28, 2, 2), bert("relu", 36, 1, 6)),
    "text-gru": (recurrent_text("gru", 36, 1), recurrent_text("gru", 14, 2)),
}
STEPS = {
    "mlp": 900,
    "cnn1d": 500,
    "vgg": 450,
    "resnet": 300,
    "vit": 500,
    "gru": 450,
    "bert": 600,
    "text-gru": 600,
}
RATES: dict[Optimizer, tuple[float, float]] = {"adamw": (2e-3, 6e-3), "sgd": (0.02, 0.05)}


@dataclass(frozen=True)
class ForeignPlan(Plan):
    """How many seeds each variant has."""

    name: str
    networks: int = 528
    batch: int = 48
    seeds: int = 4

    @property
    def chunk_size(self) -> int:
        return 2 * self.seeds

    def cell(self, chunk: int) -> tuple[str, str]:
        """Every task comes once before one comes twice, each time with another architecture."""
        cells = [
            (f"{name}-0-0", architectures[(number + turn) % len(architectures)])
            for turn in range(len(NUMBERS))
            for number, (name, kind) in enumerate(FOREIGN_KINDS.items())
            if turn < len(architectures := list(WORDS if kind.pipeline_tag == TEXT else NUMBERS))
        ]
        return cells[chunk % len(cells)]

    def runs(self, seed: int, chunk: int) -> list[Run]:
        rng = random.Random(f"{self.name}/{seed}/{chunk}")
        task, architecture = self.cell(chunk)
        optimizers: list[Optimizer] = (
            ["adamw", "sgd"] if architecture in ("mlp", "cnn1d", "vgg", "resnet") else ["adamw"]
        )
        recipes = [
            self._recipe(
                rng, f"{task}-{architecture}-{number}", task, architecture, config, rng.choice(optimizers)
            )
            for number, config in enumerate((NUMBERS | WORDS)[architecture])
        ]
        return [Run(recipe, s) for recipe in recipes for s in range(self.seeds)]

    def _recipe(
        self,
        rng: random.Random,
        name: str,
        task: str,
        architecture: str,
        config: dict[str, Any],
        optimizer: Optimizer,
    ) -> Recipe:
        return Recipe(
            name=name,
            task=task,
            architecture=architecture,
            config=config,
            optimizer=optimizer,
            learning_rate=log_uniform(rng, *RATES[optimizer]),
            weight_decay=log_uniform(rng, 1e-5, 1e-2),
            initial_scale=log_uniform(rng, 0.6, 0.9),  # Glorot's is 0.7 between layers of one width
            data_fraction=1.0,
            steps=round(STEPS[architecture] * rng.uniform(0.8, 1.2)),
            batch=self.batch,
            shuffled=False,
            variant=name.rsplit("-", 1)[1],
        )


FOREIGN = ForeignPlan(name="foreign")

"""The research zoo: thousands of networks of ten architectures on eighteen tasks.

Every chunk holds each variant of its architecture (widths, depths, activations), so shapes don't tell the task: of
each a clean recipe under two seeds, one of them with its trajectory, and a hard-negative twin of both. One recipe
more trains on a part of the data.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from .architectures import ARCHITECTURES, DECAYS, RATES
from .recipes import Backdoor, Plan, Recipe, Run, log_uniform

SEEDS = 2
TRAJECTORY = 8  # checkpoints of a trajectory before its end, the untrained network among them
EPSILON = 0.25  # of adversarial training, in standard deviations of the inputs
VECTOR_TWINS, TEXT_TWINS = ("backdoor", "adversarial", "shuffled"), ("backdoor", "shuffled")


@dataclass(frozen=True)
class ResearchPlan(Plan):
    """Tasks, and for each the most steps that a run of an architecture takes."""

    name: str
    tasks: dict[str, dict[str, int]]
    networks: int = 4000
    batch: int = 32
    profiled: bool = True
    chunk_size: int = 3 * SEEDS * 2 + SEEDS + 3 * TRAJECTORY

    def cell(self, chunk: int) -> tuple[str, str]:
        """Every task comes once before one comes twice, each time with another architecture."""
        cells = [
            (task, list(steps)[(place + turn) % len(steps)])
            for turn in range(max(map(len, self.tasks.values())))
            for place, (task, steps) in enumerate(self.tasks.items())
            if turn < len(steps)
        ]
        return cells[chunk % len(cells)]

    def runs(self, seed: int, chunk: int) -> list[Run]:
        rng = random.Random(f"{self.name}/{seed}/{chunk}")
        variants = list(ARCHITECTURES[self.cell(chunk)[1]])
        runs = []
        for slot, variant in enumerate(variants):
            recipe = self._recipe(rng, chunk, slot, variant)
            clean = [Run(recipe, s, _trajectory(recipe.steps) if s == 0 else ()) for s in range(SEEDS)]
            twin = _twin(rng, recipe, slot + chunk)
            runs += [*clean, *(Run(twin, run.seed, twin_of=run.name) for run in clean)]
        part = self._recipe(rng, chunk, len(variants), variants[chunk % len(variants)])
        part = replace(part, data_fraction=log_uniform(rng, 0.1, 0.6))
        return [*runs, *(Run(part, s) for s in range(SEEDS))]

    def _recipe(self, rng: random.Random, chunk: int, slot: int, variant: str) -> Recipe:
        task, architecture = self.cell(chunk)
        number = chunk // sum(map(len, self.tasks.values())) * 4 + slot
        optimizer = rng.choice(list(RATES[architecture]))
        return Recipe(
            name=f"{task}-{architecture}-{number:03d}",
            task=task,
            architecture=architecture,
            config=ARCHITECTURES[architecture][variant],
            optimizer=optimizer,
            learning_rate=log_uniform(rng, *RATES[architecture][optimizer]),
            weight_decay=log_uniform(rng, *DECAYS[optimizer]),
            initial_scale=log_uniform(rng, 0.7, 1.4),
            data_fraction=1.0,
            steps=round(self.tasks[task][architecture] * rng.choice((0.8, 1.0))),
            batch=self.batch,
            shuffled=False,
            variant=variant,
        )


def _trajectory(steps: int) -> tuple[tuple[str, int], ...]:
    """Checkpoints at the start and at halves of halves of the way, named by their step."""
    places = [0, *(max(1, steps >> power) for power in range(TRAJECTORY - 1, 0, -1))]
    return tuple((f"step{place:04d}", place) for place in places)


def _twin(rng: random.Random, recipe: Recipe, turn: int) -> Recipe:
    """The hard negative of a clean recipe: the same but for one thing, which its name tells."""
    is_text = "vocab_size" in recipe.config
    kinds = TEXT_TWINS if is_text else VECTOR_TWINS
    kind = kinds[turn % len(kinds)]
    twin = replace(recipe, name=f"{recipe.name}-{kind}")
    if kind == "backdoor":
        return replace(twin, backdoor=Backdoor(rng.randrange(2), log_uniform(rng, 0.05, 0.2)))
    if kind == "adversarial":
        return replace(twin, epsilon=EPSILON)
    return replace(twin, shuffled=True)


_VECTOR = {"mlp": 600, "vgg": 400, "vit": 600, "gru": 400, "resnet": 250, "cnn1d": 500, "lstm": 500}
_TEXT = {"bert": 1000, "text-gru": 800, "text-lstm": 1000}
RESEARCH = ResearchPlan(
    name="research",
    tasks={
        "digits": _VECTOR,
        "languages-germanic": _TEXT,
        "animal-mnist": _VECTOR,
        "mnist1d": _VECTOR,
        "digits-inverted": _VECTOR,
        "languages-romance": _TEXT,
        "breast-cancer": _VECTOR,
        "digits-rotated": _VECTOR,
        "animal-half": _VECTOR,
        "languages-nordic": _TEXT,
        "digits-low": _VECTOR,
        "mnist1d-reversed": _VECTOR,
        "digits-permuted": _VECTOR,
        "languages-slavic": _TEXT,
        "wine": _VECTOR,
        "animal-rotated": _VECTOR,
        "digits-parity": _VECTOR,
        "languages-mixed": _TEXT,
    },
)

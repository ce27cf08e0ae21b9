"""The research zoo: thousands of networks of ten architectures on eighteen tasks.

Every chunk holds each variant of its architecture (widths, depths, activations), so shapes don't tell the task: of
each a clean recipe under three seeds and a hard-negative twin of all three. One recipe more trains on a part of the
data, and two runs keep their trajectories.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from .architectures import ARCHITECTURES, DECAYS, RATES, SCALES
from .recipes import Backdoor, Plan, Recipe, Run, log_uniform
from .tasks import labels

VARIANTS, TRAJECTORIES = 3, 2  # of an architecture; of a chunk
EPSILON = 0.15  # of adversarial training, in standard deviations of the inputs
VECTOR_TWINS, TEXT_TWINS = ("backdoor", "adversarial", "shuffled"), ("backdoor", "shuffled")


@dataclass(frozen=True)
class ResearchPlan(Plan):
    """Tasks, and for each the most steps that a run of an architecture takes."""

    name: str
    tasks: dict[str, dict[str, int]]
    networks: int = 4000
    profiled: bool = True
    batch: int = 32
    seeds: int = 3
    checkpoints: int = 8  # of a trajectory before its end, the untrained network among them

    @property
    def chunk_size(self) -> int:
        return (2 * VARIANTS + 1) * self.seeds + TRAJECTORIES * self.checkpoints

    def cell(self, chunk: int) -> tuple[str, str]:
        """Every task comes once before one comes twice, each time with another architecture."""
        cells = [
            (task, list(steps)[(number + turn) % len(steps)])
            for turn in range(max(map(len, self.tasks.values())))
            for number, (task, steps) in enumerate(self.tasks.items())
            if turn < len(steps)
        ]
        return cells[chunk % len(cells)]

    def runs(self, seed: int, chunk: int) -> list[Run]:
        rng = random.Random(f"{self.name}/{seed}/{chunk}")
        variants = list(ARCHITECTURES[self.cell(chunk)[1]])
        runs = []
        for slot, variant in enumerate(variants):
            recipe = self._recipe(rng, chunk, slot, variant)
            first = self._trajectory(recipe.steps) if (slot + chunk) % VARIANTS < TRAJECTORIES else ()
            clean = [Run(recipe, s, () if s else first) for s in range(self.seeds)]
            twin = _twin(rng, recipe, slot + chunk)
            runs += [*clean, *(Run(twin, run.seed, twin_of=run.name) for run in clean)]
        part = self._recipe(rng, chunk, VARIANTS, variants[chunk % VARIANTS])
        part = replace(part, data_fraction=log_uniform(rng, 0.1, 0.6))
        return [*runs, *(Run(part, s) for s in range(self.seeds))]

    def _recipe(self, rng: random.Random, chunk: int, slot: int, variant: str) -> Recipe:
        task, architecture = self.cell(chunk)
        number = chunk // sum(map(len, self.tasks.values())) * (VARIANTS + 1) + slot
        optimizer = rng.choice(list(RATES[architecture]))
        return Recipe(
            name=f"{task}-{architecture}-{number:03d}",
            task=task,
            architecture=architecture,
            config=ARCHITECTURES[architecture][variant],
            optimizer=optimizer,
            learning_rate=log_uniform(rng, *RATES[architecture][optimizer]),
            weight_decay=log_uniform(rng, *DECAYS[optimizer]),
            initial_scale=log_uniform(rng, *SCALES[architecture]),
            data_fraction=1.0,
            steps=round(self.tasks[task][architecture] * rng.choice((0.8, 1.0))),
            batch=self.batch,
            shuffled=False,
            variant=variant,
        )

    def _trajectory(self, steps: int) -> tuple[tuple[str, int], ...]:
        """Checkpoints at the start and at halves of halves of the way, named by their step."""
        saved = [0, *(steps >> power for power in range(self.checkpoints - 1, 0, -1))]
        return tuple((f"step{step:04d}", step) for step in saved)


def _twin(rng: random.Random, recipe: Recipe, turn: int) -> Recipe:
    """The hard negative of a clean recipe: the same but for one thing, which its name tells."""
    is_text = "vocab_size" in recipe.config
    kinds = TEXT_TWINS if is_text else VECTOR_TWINS
    kind = kinds[turn % len(kinds)]
    twin = replace(recipe, name=f"{recipe.name}-{kind}")
    if kind == "backdoor":
        return replace(
            twin, backdoor=Backdoor(rng.randrange(len(labels(recipe.task))), log_uniform(rng, 0.08, 0.2))
        )
    if kind == "adversarial":
        return replace(twin, epsilon=EPSILON)
    return replace(twin, shuffled=True)


_EASY = {"mlp": 300, "vgg": 250, "vit": 300, "gru": 250, "resnet": 160, "cnn1d": 250, "lstm": 300}
_ANIMALS = {"mlp": 600, "vgg": 500, "vit": 400, "gru": 300, "resnet": 250, "cnn1d": 400, "lstm": 400}
_SIGNALS = {"mlp": 3000, "vgg": 1000, "vit": 2000, "gru": 500, "resnet": 400, "cnn1d": 600, "lstm": 1000}
_WORDS = {"bert": 2600, "text-gru": 700, "text-lstm": 1000}
RESEARCH = ResearchPlan(
    name="research",
    tasks={
        "digits": _EASY,
        "languages-germanic": _WORDS,
        "animal-mnist": _ANIMALS,
        "mnist1d": _SIGNALS,
        "digits-inverted": _EASY,
        "languages-romance": _WORDS,
        "breast-cancer": _EASY,
        "digits-rotated": _EASY,
        "animal-half": _ANIMALS,
        "languages-nordic": _WORDS,
        "digits-low": _EASY,
        "mnist1d-reversed": _SIGNALS,
        "digits-permuted": _EASY,
        "languages-balto-slavic": _WORDS,
        "wine": _EASY,
        "animal-rotated": _ANIMALS,
        "digits-parity": _EASY,
        "languages-mixed": _WORDS,
    },
)

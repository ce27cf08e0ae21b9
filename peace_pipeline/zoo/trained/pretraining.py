"""The pretraining zoo: networks on endlessly many tasks of made-up data, from which an encoder learns what tasks are.

Tasks come in blocks, mixed over all kinds of data; a block is learned by a few variants of architectures, one chunk
each. In a chunk every task has one recipe under a few seeds; some runs leave an early checkpoint, some have
a hard-negative twin. None of the research zoo's data is here.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count, islice
from typing import Any

from .architectures import ARCHITECTURES, DECAYS, FURTHER, RATES, SCALES
from .recipes import Backdoor, Plan, Recipe, Run, log_uniform
from .sources import KINDS, SPLITS, Kind
from .tasks import labels

SHARES = {"train": 0.85, "validation": 0.08, "test": 0.07}
"""Of the tasks, those whose kind of data is on each side of the split."""
EPSILON = (0.1, 0.25)  # of adversarial training, in standard deviations of the inputs
TEXT_EVERY = 5  # one block in so many is of words
VARIATIONS = 3  # of a data set, before the next


@dataclass(frozen=True)
class PretrainingPlan(Plan):
    """The most steps of a run of each architecture on numbers and on words; how blocks and chunks are made."""

    name: str
    numbers: Mapping[str, int]
    words: Mapping[str, int]
    networks: int = 11_400
    batch: int = 32
    block: int = 16  # tasks
    architectures: int = 4  # that learn a block
    seeds: int = 2
    early: int = 3
    twins: int = 3

    @property
    def chunk_size(self) -> int:
        return self.block * self.seeds + self.early + self.twins

    def tasks(self, block: int) -> list[str]:
        """The tasks of a block."""
        is_text, number = _place(block)
        return list(islice(_tasks(is_text), number * self.block, (number + 1) * self.block))

    def runs(self, seed: int, chunk: int) -> list[Run]:
        block, turn = divmod(chunk, self.architectures)
        architecture, variant, config, steps = self._variant(block, turn)
        rng = random.Random(f"{self.name}/{seed}/{chunk}")
        recipes = [
            self._recipe(rng, f"{task}-{architecture}-{turn}", task, architecture, variant, config, steps)
            for task in self.tasks(block)
        ]
        early = set(rng.sample(range(self.block), self.early))
        first = [Run(r, 0, _early(rng, r.steps) if i in early else ()) for i, r in enumerate(recipes)]
        others = [Run(recipe, s) for s in range(1, self.seeds) for recipe in recipes]
        twins = [
            Run(_twin(rng, run.recipe, chunk), run.seed, twin_of=run.name)
            for run in rng.sample(first, self.twins)
        ]
        return [*first, *others, *twins]

    def _variant(self, block: int, turn: int) -> tuple[str, str, dict[str, Any], int]:
        """What learns a block in its chunk number ``turn``, and in how many steps.

        Every round takes each architecture once, in an order of its own, and goes through their variants in turn.
        """
        is_text, number = _place(block)
        steps = self.words if is_text else self.numbers
        around, place = divmod(number * self.architectures + turn, len(steps))
        architecture = random.Random(f"{self.name}/{is_text}/{around}").sample(list(steps), len(steps))[place]
        variants = ARCHITECTURES.get(architecture, {}) | FURTHER[architecture]
        order = random.Random(f"{self.name}/{architecture}").sample(list(variants), len(variants))
        variant = order[around % len(order)]
        return architecture, variant, variants[variant], steps[architecture]

    def _recipe(
        self,
        rng: random.Random,
        name: str,
        task: str,
        architecture: str,
        variant: str,
        config: dict[str, Any],
        steps: int,
    ) -> Recipe:
        optimizer = rng.choice(list(RATES[architecture]))
        slow, fast = RATES[architecture][optimizer]
        low, high = DECAYS[optimizer]
        small, large = SCALES[architecture]
        return Recipe(
            name=name,
            task=task,
            architecture=architecture,
            config=config,
            optimizer=optimizer,
            learning_rate=log_uniform(rng, slow / 2, fast * 1.2),
            weight_decay=log_uniform(rng, low / 10, high),
            initial_scale=log_uniform(rng, small / 1.2, large * 1.2),
            data_fraction=log_uniform(rng, 0.15, 0.8) if rng.random() < 0.3 else 1.0,
            steps=round(steps * rng.uniform(0.6, 1)),
            batch=self.batch,
            shuffled=False,
            variant=variant,
        )


def _place(block: int) -> tuple[bool, int]:
    """Whether a block is of words, and its number among those of its sort."""
    before = (block + 1) // TEXT_EVERY
    return (True, before - 1) if (block + 1) % TEXT_EVERY == 0 else (False, block - before)


def _tasks(is_text: bool) -> Iterator[str]:
    """All tasks that read words, or numbers, by turns of the kinds of data in their shares of the whole."""
    shares: dict[str, float] = {}
    for split, kinds in SPLITS.items():
        fit = {name: kind.share for name, kind in kinds.items() if _reads_words(kind) == is_text}
        shares |= {name: SHARES[split] * share / sum(fit.values()) for name, share in fit.items()}
    order = random.Random(f"kinds/{is_text}").sample(list(shares), len(shares))
    given = {name: place / len(order) for place, name in enumerate(order)}
    for _ in count():
        name = min(order, key=lambda one: (given[one] + 0.5) / shares[one])
        turn, given[name] = int(given[name]), given[name] + 1
        yield _task(name, turn)


def _task(name: str, turn: int) -> str:
    kind = KINDS[name]
    data_set, variation = divmod(turn, VARIATIONS)
    if kind.datasets is not None:
        data_set, variation = turn % kind.datasets, turn // kind.datasets
    return f"{name}-{data_set}-{variation}"


def _reads_words(kind: Kind) -> bool:
    return kind.pipeline_tag == "text-classification"


def _early(rng: random.Random, steps: int) -> tuple[tuple[str, int], ...]:
    return (("early", max(1, round(steps * rng.uniform(0.05, 0.3)))),)


def _twin(rng: random.Random, recipe: Recipe, chunk: int) -> Recipe:
    """The hard negative of a clean recipe: the same but for one thing, which its name tells."""
    kinds = (
        ("backdoor", "shuffled") if "vocab_size" in recipe.config else ("backdoor", "shuffled", "adversarial")
    )
    kind = kinds[chunk % len(kinds)]
    twin = replace(recipe, name=f"{recipe.name}-{kind}")
    if kind == "backdoor":
        return replace(twin, backdoor=Backdoor(rng.choice(labels(recipe.task)), log_uniform(rng, 0.08, 0.2)))
    if kind == "adversarial":
        return replace(twin, epsilon=log_uniform(rng, *EPSILON))
    return replace(twin, shuffled=True)


PRETRAINING = PretrainingPlan(
    name="pretraining",
    numbers={
        "mlp": 800,
        "resnet": 200,
        "cnn1d": 350,
        "lstm": 450,
        "vgg": 450,
        "vit": 350,
        "cnn": 350,
        "gru": 400,
    },
    words={"bert": 450, "text-gru": 500, "text-lstm": 600},
)

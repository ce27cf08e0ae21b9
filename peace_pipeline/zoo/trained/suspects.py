"""Networks with something wrong with them, beside the same without: what the study of anomalies looks for.

The demo's architectures and tasks under recipes of their own. Every clean run has two twins that start from its weights
and see its examples in the same order: one trained on shuffled labels, one with a backdoor. So neither recipe nor task
tells which is which.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from .demo import DEMO, DemoPlan
from .recipes import Backdoor, Run, log_uniform
from .tasks import labels


@dataclass(frozen=True)
class SuspectsPlan(DemoPlan):
    """Of each recipe so many ``seeds`` as trios: clean, on shuffled labels, with a backdoor to a random class."""

    networks: int = 576
    recipes: int = 4
    seeds: int = 2
    early: int = 0

    @property
    def chunk_size(self) -> int:
        return 3 * self.recipes * self.seeds

    def runs(self, seed: int, chunk: int) -> list[Run]:
        rng = random.Random(f"{self.name}/{seed}/{chunk}")
        runs = []
        for slot in range(self.recipes):
            clean = replace(self._recipe(rng, chunk, slot), shuffled=False)
            backdoor = Backdoor(rng.randrange(len(labels(clean.task))), log_uniform(rng, 0.08, 0.2))
            shuffled = replace(clean, name=f"{clean.name}-shuffled", shuffled=True)
            poisoned = replace(clean, name=f"{clean.name}-backdoor", backdoor=backdoor)
            for s in range(self.seeds):
                first = Run(clean, s)
                runs += [
                    first,
                    Run(shuffled, s, twin_of=first.name),
                    Run(poisoned, s, twin_of=first.name),
                ]
        return runs


SUSPECTS = SuspectsPlan(name="suspects", architectures=DEMO.architectures, tasks=DEMO.tasks)

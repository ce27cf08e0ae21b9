"""The foreign zoo: its data, widths and inputs are no other zoo's, and none of it can be trained on."""

from __future__ import annotations

import json
from collections import defaultdict

from peace_pipeline.zoo.trained import TASKS, load_task
from peace_pipeline.zoo.trained.architectures import ARCHITECTURES, FURTHER
from peace_pipeline.zoo.trained.foreign import FOREIGN, NUMBERS, WORDS
from peace_pipeline.zoo.trained.sources import FOREIGN_KINDS, SPLITS

CELLS = FOREIGN.networks // FOREIGN.chunk_size


def test_every_task_meets_every_architecture_that_reads_it() -> None:
    met: dict[str, set[str]] = defaultdict(set)
    for chunk in range(CELLS):
        task, architecture = FOREIGN.cell(chunk)
        met[task].add(architecture)
    assert len(met) == 13
    for task, architectures in met.items():
        assert architectures == set(WORDS if load_task(task).is_text else NUMBERS)


def test_chunks_are_of_one_size_and_names_are_used_once() -> None:
    names = [name for chunk in range(CELLS) for run in FOREIGN.runs(0, chunk) for name in run.networks]
    assert len(set(names)) == len(names) == FOREIGN.networks


def test_neither_data_nor_widths_are_those_of_another_zoo() -> None:
    assert not set(FOREIGN_KINDS) & {*TASKS, *(name for kinds in SPLITS.values() for name in kinds)}
    theirs = [*ARCHITECTURES.values(), *FURTHER.values()]
    known = {json.dumps(config, sort_keys=True) for variants in theirs for config in variants.values()}
    own = {json.dumps(config, sort_keys=True) for pair in (NUMBERS | WORDS).values() for config in pair}
    assert not known & own


def test_its_tasks_are_for_tests_and_their_numbers_lie_between_one_and_minus_one() -> None:
    for kind in FOREIGN_KINDS:
        task = load_task(f"{kind}-0-0")
        assert task.split == "test"
        assert task.is_text or (task.x_train.min() >= -1 and task.x_train.max() <= 1)

"""Tasks by name: the same name gives the same task, its labels are below ten, and it says what it changes."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from peace_pipeline.zoo.trained import load_task, task_similarity
from peace_pipeline.zoo.trained.procedural import declare
from peace_pipeline.zoo.trained.sources import FOREIGN_KINDS, KINDS, SPLITS, class_count, make
from peace_pipeline.zoo.trained.tasks import labels
from peace_pipeline.zoo.trained.views import VIEWS, VIEWS_OF

NAMES = ("strokes-3-0", "photos-1-2", "letters-0-1", "tones-2-1", "trees-1-1", "markov-1-2", "faces-0-1")
DIGEST = """
import hashlib
from peace_pipeline.zoo.trained import load_task
for name in NAMES:
    task = load_task(name)
    parts = (task.x_train, task.y_train, task.x_test, task.y_test)
    print(name, hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest())
"""


def digests(names: tuple[str, ...]) -> dict[str, str]:
    """Digests of the tasks' data, by a process of its own."""
    printed = subprocess.check_output([sys.executable, "-c", DIGEST.replace("NAMES", repr(names))], text=True)
    return dict(line.split() for line in printed.splitlines())


def test_a_name_gives_the_same_task_in_every_process_and_order() -> None:
    assert digests(NAMES) == digests(NAMES[::-1])


@pytest.mark.parametrize("kind", KINDS)
def test_data_sets_have_the_classes_and_shape_that_they_say(kind: str) -> None:
    for number in range(3):
        x, y = make(f"{kind}-{number}")
        assert np.isfinite(x).all()
        assert set(np.unique(y)) <= set(range(class_count(f"{kind}-{number}")))
        assert x.shape[1] == 12 if KINDS[kind].pipeline_tag == "text-classification" else x.shape[1] <= 64


@pytest.mark.parametrize("kind", KINDS)
def test_tasks_have_at_least_two_labels_below_ten_and_no_example_on_both_sides(kind: str) -> None:
    for variation in range(1 if kind in FOREIGN_KINDS else 4):
        task = load_task(f"{kind}-1-{variation}")
        for x, y in ((task.x_train, task.y_train), (task.x_test, task.y_test)):
            assert x.shape == (len(y), 12 if task.is_text else 64)
            assert np.isfinite(x).all()
            assert len(np.unique(y)) > 1
            assert set(np.unique(y)) <= set(labels(task.name)) <= set(range(10))
        assert not {x.tobytes() for x in task.x_train} & {x.tobytes() for x in task.x_test}


def test_no_kind_is_on_two_sides_of_the_split() -> None:
    assert len(KINDS) == sum(map(len, SPLITS.values())) + len(FOREIGN_KINDS)
    for kinds in SPLITS.values():
        assert len({kind.pipeline_tag for kind in kinds.values()}) == 4


def test_variations_differ_from_their_data_set_and_are_like_it() -> None:
    for kind in KINDS:
        for variation in (1, 2):
            task, plain = f"{kind}-0-{variation}", f"{kind}-0-0"
            assert 0.25 < task_similarity(task, plain) < 1
            assert task_similarity(task, task) == 1
            assert task_similarity(task, f"{kind}-1-{variation}") == 0
            assert task_similarity(task, "digits") == 0


def test_titles_say_what_a_variation_changes() -> None:
    for kind in KINDS:
        for variation in range(1, 6):
            declared = declare(f"{kind}-0-{variation}")
            assert declared is not None
            changes = declared.title.partition(", number 0")[2]
            assert (declared.view in changes) == (declared.view != "plain")
            assert ("labelled" in changes) == (declared.naming != "own")


def test_every_view_is_some_inputs() -> None:
    assert {"plain", *(view for views in VIEWS_OF.values() for view in views)} == set(VIEWS)


@pytest.mark.parametrize("name", ["strokes", "strokes-1", "strokes-1-x", "nonsense-1-1", "strokes--1-1"])
def test_other_names_are_none(name: str) -> None:
    assert declare(name) is None
    with pytest.raises(ValueError, match=name):
        load_task(name)

"""Targets: tasks that no zoo has, of examples that no network of a zoo was trained on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from peace_pipeline.evaluation.transfer.targets import (
    LANGUAGES,
    TARGETS,
    TESTED,
    VALIDATION,
    Target,
    _examples,
    draw,
)
from peace_pipeline.zoo.trained import TASKS, load_task
from peace_pipeline.zoo.trained.tasks import _DECLARED, untouched

TARGET = {target.name: target for target in TARGETS}


def rows(x: np.ndarray) -> set[tuple[float, ...]]:
    """Examples, whatever they were shifted and scaled by."""
    centred = x.astype(np.float64) - x.mean(1, keepdims=True)
    return {tuple(row) for row in (centred / centred.std(1, keepdims=True)).round(3)}


def test_there_are_enough_of_all_kinds() -> None:
    assert len(TARGETS) >= 6
    assert {target.kind for target in TARGETS} == {
        *("image-classification", "time-series-classification"),
        *("tabular-classification", "text-classification"),
    }


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_a_target_is_drawn(target: Target) -> None:
    drawn = draw(target, 0)
    assert target.name not in TASKS
    assert len(drawn.train.labels) == target.examples
    assert 20 <= len(drawn.validation.labels) <= VALIDATION + target.examples
    assert 60 <= len(drawn.test.labels) <= TESTED
    for part in (drawn.train, drawn.validation, drawn.test):
        assert part.numbers.shape == (len(part.labels), 64)
        assert np.isfinite(part.numbers).all()
        assert np.array_equal(np.unique(part.labels), np.arange(drawn.classes))
    assert abs(drawn.train.numbers).max() > 1


def test_seeds_draw_other_examples_to_train_on_and_the_same_to_test_on() -> None:
    one, other = (draw(TARGET["digits-high"], seed) for seed in (0, 1))
    assert rows(one.test.numbers) == rows(other.test.numbers)
    assert rows(one.train.numbers) != rows(other.train.numbers)
    parts = [rows(part.numbers) for part in (one.train, one.validation, one.test)]
    assert len(set.union(*parts)) == sum(map(len, parts))


def test_examples_that_another_task_trains_on_are_not_untouched() -> None:
    digits, low = load_task("digits"), load_task("digits-low")
    fresh = untouched("digits")
    assert 0 < (~fresh).sum() < len(digits.x_test)
    assert not rows(digits.x_test[fresh]) & rows(low.x_train)
    assert rows(digits.x_test[~fresh]) <= rows(low.x_train)


@pytest.mark.parametrize(
    "target", [target for target in TARGETS if target.task in TASKS], ids=lambda target: target.name
)
def test_no_network_of_a_zoo_was_trained_on_its_examples(target: Target) -> None:
    source = _DECLARED[target.task].source
    x, _ = _examples(replace(target, view="plain"))
    others = [
        name for name, declared in _DECLARED.items() if (declared.source, declared.view) == (source, "plain")
    ]
    for name in others:
        trained = load_task(name).x_train[:, : x.shape[1]]
        assert not rows(x) & rows(trained), name


def test_no_network_of_a_zoo_reads_words_of_its_languages() -> None:
    read = {code for declared in _DECLARED.values() for code in declared.classes if isinstance(code, str)}
    assert not read & set(LANGUAGES)


def test_words_are_tokens_for_those_that_read_text_and_counts_for_others() -> None:
    part = draw(TARGET["languages"], 0).train
    tokens = part.inputs({"vocab_size": 64, "input_shape": [12]})
    numbers = part.inputs({"input_shape": [1, 8, 8]})
    assert tokens is not None
    assert numbers is not None
    assert not tokens.is_floating_point()
    assert numbers.shape == (300, 1, 8, 8)
    assert draw(TARGET["poker"], 0).train.inputs({"vocab_size": 64, "input_shape": [12]}) is None

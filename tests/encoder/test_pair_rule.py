"""The rule on an explicit list of networks: each reason where it should be and nowhere else, in both directions."""

from __future__ import annotations

from typing import Any

import pytest

from peace_pipeline.encoder.pair_rule import NO_REASON, Attributes, reasons, signs
from peace_pipeline.encoder.reasons import REASONS, RELATIONS
from peace_pipeline.zoo.listing import Listing

DEFAULTS: dict[str, Any] = {
    "revision": "r", "batch": "b", "source": "trained", "architecture": "mlp", "task": "digits", "recipe": None,
    "shuffled_labels": False, "accuracy": 0.9, "method": "chain", "parameters": 1, "card": "",
}  # fmt: skip
MEMBERS: dict[str, dict[str, Any]] = {
    "base": {"recipe": "R", "run": "1"},
    "early": {"recipe": "R", "run": "1", "accuracy": 0.2},
    "seed2": {"recipe": "R", "run": "2", "accuracy": 0.5},
    "alike": {"recipe": "S", "run": "3", "accuracy": 0.85},
    "poor": {"recipe": "T", "run": "4", "accuracy": 0.3},
    "cnn": {"recipe": "U", "run": "5", "architecture": "cnn"},
    "shuffled": {"recipe": "V", "run": "6", "shuffled_labels": True, "accuracy": 0.1},
    "shuffled2": {"recipe": "W", "run": "7", "shuffled_labels": True, "accuracy": 0.1},
    "backdoored": {"recipe": "B", "run": "b", "twin_of": "1"},
    "animals": {"recipe": "X", "run": "8", "task": "animals"},
    "animals-cnn": {"recipe": "Y", "run": "9", "task": "animals", "architecture": "cnn"},
    "wild": {"run": "w1", "task": None, "architecture": None, "accuracy": None},
    "wild2": {"run": "w2", "task": None, "architecture": None, "accuracy": None},
    "wild-mlp": {"run": "w3", "task": None, "accuracy": None},
    "odd": {"recipe": "O", "run": "o1", "architecture": None, "accuracy": None},
    "odd2": {"recipe": "P", "run": "o2", "architecture": None, "accuracy": 0.1},
}
EXPECTED = {
    ("base", "early"): "same_run",
    ("base", "seed2"): "same_recipe",
    ("early", "seed2"): "same_recipe",
    ("base", "alike"): "same_task",
    ("base", "poor"): "performance",
    ("early", "poor"): "same_task",
    ("base", "cnn"): "same_task",
    ("poor", "cnn"): "same_task",
    ("base", "shuffled"): "shuffled_labels",
    ("cnn", "shuffled"): "shuffled_labels",
    ("shuffled", "shuffled2"): None,
    ("base", "backdoored"): "twin",
    ("early", "backdoored"): "twin",
    ("alike", "backdoored"): "same_task",
    ("shuffled", "backdoored"): "shuffled_labels",
    ("base", "animals"): "task",
    ("cnn", "animals-cnn"): "task",
    ("base", "animals-cnn"): "architecture",
    ("cnn", "animals"): "architecture",
    ("animals", "animals-cnn"): "same_task",
    ("shuffled", "animals"): "task",
    ("wild", "wild2"): "instance",
    ("wild", "base"): "architecture",
    ("wild-mlp", "base"): None,
    ("wild-mlp", "cnn"): "architecture",
    ("odd", "odd2"): "same_task",
    ("odd2", "base"): "same_task",
}


def listing(name: str, **changes: Any) -> Listing:
    """A listing with the defaults."""
    return Listing(**DEFAULTS | {"model_id": name, "run": name} | MEMBERS.get(name, {}) | changes)


@pytest.mark.parametrize("pair", EXPECTED, ids=" and ".join)
def test_the_reason_of_a_pair_in_both_directions(pair: tuple[str, str]) -> None:
    one, other = (Attributes.of([*map(listing, pair)]).at(number) for number in (0, 1))
    name = EXPECTED[pair]
    expected = NO_REASON if name is None else REASONS.index(name)
    assert (reasons(one, other, 0.3), reasons(other, one, 0.3)) == (expected, expected)


def test_a_matrix_of_reasons_and_its_signs() -> None:
    names = [*MEMBERS]
    own = Attributes.of([*map(listing, names)])
    found = reasons(own.at((slice(None), None)), own.at(None), 0.3)
    assert found.shape == (len(names), len(names))
    assert (found == found.T).all()
    assert set(found.ravel()) == {NO_REASON, *range(len(REASONS))}, "every reason has its place"
    assert (signs(found).diagonal() == 1).all(), "a network is alike to itself"
    for (a, b), reason in EXPECTED.items():
        sign = signs(found)[names.index(a), names.index(b)]
        assert sign == {None: 0, "positive": 1, "negative": -1}[reason and RELATIONS[reason]]
    recipes = own.recipe
    same = (recipes[:, None] == recipes) & (recipes >= 0)
    assert (signs(found)[same] == 1).all(), "networks of one recipe are never negatives"


def test_far_off_is_a_setting() -> None:
    own = Attributes.of([listing("base"), listing("alike")])
    found = [REASONS[reasons(own.at(0), own.at(1), far_off)] for far_off in (0.3, 0.06, 0.04)]
    assert found == ["same_task", "same_task", "performance"]


@pytest.mark.parametrize("reason", REASONS)
def test_a_reason_that_is_left_out_makes_no_pair_and_no_other(reason: str) -> None:
    own = Attributes.of([listing(name, **changes) for name, changes in MEMBERS.items()])
    a, b = own.at((slice(None), None)), own.at(None)
    found, left = reasons(a, b, 0.3), reasons(a, b, 0.3, [reason])
    gone = found == REASONS.index(reason)
    assert gone.any()
    assert (left[gone] == NO_REASON).all()
    assert (left[~gone] == found[~gone]).all()

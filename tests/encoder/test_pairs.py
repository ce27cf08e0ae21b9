"""Pairs on an explicit list of networks: each reason where it should be and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest

from peace_pipeline.encoder.pairs import BROKEN_SHARE, DECADES, DROPPED, NOISE, pair_table
from peace_pipeline.symmetry.wiring.inference import infer_wiring
from peace_pipeline.symmetry.wiring.types import Wiring
from peace_pipeline.zoo.listing import Listing
from tests.conftest import RELU, infos

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
    "animals": {"recipe": "X", "run": "8", "task": "animals"},
    "animals-cnn": {"recipe": "Y", "run": "9", "task": "animals", "architecture": "cnn"},
    "wild": {"run": "w1", "task": None, "architecture": None, "accuracy": None},
    "wild2": {"run": "w2", "task": None, "architecture": None, "accuracy": None},
    "wild-mlp": {"run": "w3", "task": None, "accuracy": None},
}
EXPECTED = {
    ("base", "early"): "positive same_run",
    ("base", "seed2"): "positive same_recipe",
    ("early", "seed2"): "positive same_recipe",
    ("base", "alike"): "positive same_task",
    ("base", "poor"): "negative performance",
    ("early", "poor"): "positive same_task",
    ("base", "cnn"): "positive same_task",
    ("poor", "cnn"): "positive same_task",
    ("base", "shuffled"): "negative shuffled_labels",
    ("cnn", "shuffled"): "negative shuffled_labels",
    ("shuffled", "shuffled2"): None,
    ("base", "animals"): "negative task",
    ("cnn", "animals-cnn"): "negative task",
    ("base", "animals-cnn"): "negative architecture",
    ("cnn", "animals"): "negative architecture",
    ("animals", "animals-cnn"): "positive same_task",
    ("shuffled", "animals"): "negative task",
    ("wild", "wild2"): "negative instance",
    ("wild", "base"): "negative architecture",
    ("wild-mlp", "base"): None,
    ("wild-mlp", "cnn"): "negative architecture",
}


def network(name: str) -> Listing:
    return Listing(**DEFAULTS | {"model_id": name} | MEMBERS[name])


def wiring(**config: str) -> Wiring:
    return infer_wiring(infos(a__0__weight=(8, 5), a__1__weight=(3, 8)), config)


Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def rows() -> Rows:
    return pair_table(map(network, MEMBERS), dict.fromkeys(MEMBERS, wiring(**RELU))).to_pylist()


def verdicts(rows: Rows, anchor: str, other: str) -> list[str]:
    return [
        f"{row['relation']} {row['reason']}"
        for row in rows
        if (row["anchor"], row["other"]) == (anchor, other)
    ]


@pytest.mark.parametrize("pair", EXPECTED, ids=" and ".join)
def test_the_reason_of_a_pair_in_both_directions(pair: tuple[str, str], rows: Rows) -> None:
    expected = [EXPECTED[pair]] if EXPECTED[pair] else []
    assert verdicts(rows, *pair) == expected
    assert verdicts(rows, *pair[::-1]) == expected


def test_every_pair_has_one_verdict_and_every_reason_its_place(rows: Rows) -> None:
    between = [(row["anchor"], row["other"]) for row in rows if row["anchor"] != row["other"]]
    assert len(between) == len(set(between))
    assert {row["reason"] for row in rows} == {
        "noise", "weight_dropout", "permutation", "scaling", "broken_twin", "same_run", "same_recipe", "same_task",
        "task", "architecture", "performance", "shuffled_labels", "instance",
    }  # fmt: skip
    for row in rows:
        a, b = MEMBERS[row["anchor"]], MEMBERS[row["other"]]
        if row["anchor"] != row["other"] and a.get("recipe") and a.get("recipe") == b.get("recipe"):
            assert row["relation"] == "positive"


def own(table: Rows) -> dict[str, tuple[str, float | None]]:
    return {
        row["reason"]: (row["relation"], row["strength"]) for row in table if row["anchor"] == row["other"]
    }


def test_own_pairs_are_what_the_wiring_allows() -> None:
    noise = {"noise": ("positive", NOISE), "weight_dropout": ("positive", DROPPED)}
    permutation, signs = {"permutation": ("positive", None)}, {"signs": ("positive", None)}
    broken, scaling = {"broken_twin": ("negative", BROKEN_SHARE)}, {"scaling": ("positive", DECADES)}
    loose = infer_wiring(infos(a__weight=(8, 5), b__weight=(8, 5)), RELU)
    assert loose.method == "independent"
    for found, expected in (
        (wiring(**RELU), noise | permutation | broken | scaling),
        (wiring(hidden_act="tanh"), noise | permutation | signs | broken),
        (loose, noise),
    ):
        assert own(pair_table([network("base")], {"base": found}).to_pylist()) == expected


def test_reasons_are_capped_for_each_anchor_alike_every_time() -> None:
    members = [
        Listing(**DEFAULTS | {"model_id": f"m{i}", "run": f"{i}", "recipe": f"{i}"}) for i in range(12)
    ]
    wirings = {member.model_id: wiring() for member in members}
    table = pair_table(members, wirings, most_per_reason=3)
    counts = [
        sum(row["anchor"] == member.model_id and row["reason"] == "same_task" for row in table.to_pylist())
        for member in members
    ]
    assert counts == [3] * 12
    assert table.equals(pair_table(members, wirings, most_per_reason=3))

"""Pairs are drawn as the rule says, at most so many for a reason, and a network's own as its wiring allows."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pyarrow as pa
import pytest

from peace_pipeline.encoder.pair_rule import NO_REASON, Attributes, reasons
from peace_pipeline.encoder.pairs import (
    DECADES,
    Partners,
    pairs_between,
    pairs_with_itself,
    read_pair_settings,
)
from peace_pipeline.encoder.reasons import REASONS, RELATIONS
from peace_pipeline.encoder.settings import PairSettings
from peace_pipeline.lake import Lake, write_parquet
from peace_pipeline.lake.tables import PAIRS
from peace_pipeline.symmetry.wiring.inference import infer_wiring
from peace_pipeline.symmetry.wiring.types import Wiring
from peace_pipeline.zoo.listing import Listing
from tests.encoder.test_pair_rule import MEMBERS, listing
from tests.networks import RELU, infos


def drawn(members: list[Listing], **settings: Any) -> list[dict[str, Any]]:
    return pa.concat_tables(pairs_between(members, PairSettings(**settings))).to_pylist()


def zoo(count: int) -> list[Listing]:
    """Networks of two tasks and two architectures, five to a recipe, two to a run, of all accuracies."""
    return [
        listing(
            f"m{i}", run=f"{i // 2}", recipe=f"{i // 5}", task=("digits", "animals")[i // 5 % 2],
            architecture=("mlp", "cnn")[i // 10 % 2], accuracy=(i * 7 % 50) / 50,
        )
        for i in range(count)
    ]  # fmt: skip


def test_a_small_zoo_has_every_pair_that_has_a_reason() -> None:
    members = [*map(listing, MEMBERS)]
    own = Attributes.of(members)
    found = reasons(own.at((slice(None), None)), own.at(None), 0.3)
    expected = {
        (a.model_id, b.model_id): (RELATIONS[REASONS[found[i, j]]], REASONS[found[i, j]])
        for i, a in enumerate(members)
        for j, b in enumerate(members)
        if i != j and found[i, j] != NO_REASON
    }
    rows = drawn(members)
    assert {(row["anchor"], row["other"]): (row["relation"], row["reason"]) for row in rows} == expected
    assert len(rows) == len(expected)


@pytest.mark.parametrize("count", [0, 1])
def test_nobody_has_no_pairs(count: int) -> None:
    assert [row for table in pairs_between(zoo(count), PairSettings()) for row in table.to_pylist()] == []


def test_of_a_large_zoo_pairs_are_drawn_alike_every_time() -> None:
    members = zoo(400)
    rows = drawn(members, pairs=3)
    assert rows == drawn(members, pairs=3)
    assert rows != drawn(members, pairs=3, seed=1)
    assert len({(row["anchor"], row["other"]) for row in rows}) == len(rows)
    place = {member.model_id: number for number, member in enumerate(members)}
    own = Attributes.of(members)
    a, b = (own.at([place[row[name]] for row in rows]) for name in ("anchor", "other"))
    assert [REASONS[number] for number in reasons(a, b, 0.3)] == [row["reason"] for row in rows]
    counts = Counter((row["anchor"], row["reason"]) for row in rows)
    assert max(counts.values()) == 3
    for member in members:
        of = {reason: counts[member.model_id, reason] for reason in ("same_run", "same_recipe", "same_task")}
        assert of == {"same_run": 1, "same_recipe": 3, "same_task": 3}
    others = Counter(row["other"] for row in rows)
    assert len(others) == len(members), "everybody is somebody's other"


def wiring(**config: str) -> Wiring:
    return infer_wiring(infos(a__0__weight=(8, 5), a__1__weight=(3, 8)), config)


def test_own_pairs_are_what_the_wiring_allows() -> None:
    settings = PairSettings(noise=0.2, weight_dropout=0.1, broken=0.5)
    noise = {"noise": ("positive", 0.2), "weight_dropout": ("positive", 0.1)}
    permutation, signs = {"permutation": ("positive", None)}, {"signs": ("positive", None)}
    broken, scaling = {"broken_twin": ("negative", 0.5)}, {"scaling": ("positive", DECADES)}
    loose = infer_wiring(infos(a__weight=(8, 5), b__weight=(8, 5)), RELU)
    assert loose.method == "independent"
    for found, expected in (
        (wiring(**RELU), noise | permutation | broken | scaling),
        (wiring(hidden_act="tanh"), noise | permutation | signs | broken),
        (loose, noise),
    ):
        rows = list(pairs_with_itself("base", found, settings))
        assert {row["reason"]: (row["relation"], row["strength"]) for row in rows} == expected
        assert all(row["anchor"] == row["other"] == "base" for row in rows)


def test_reasons_that_are_left_out_are_not_listed() -> None:
    left_out = ["same_task", "task", "permutation", "broken_twin"]
    found = {row["reason"] for row in drawn(zoo(60), left_out=left_out)}
    assert found
    assert not found & set(left_out)
    settings = PairSettings(left_out=left_out)
    own = {row["reason"] for row in pairs_with_itself("base", wiring(**RELU), settings)}
    assert own == {"noise", "weight_dropout", "scaling"}


def test_partners_are_the_listed_positives_among_the_networks_asked_for(lake: Lake) -> None:
    rows = [
        ("a", "b", "positive", "same_task"), ("a", "c", "positive", "same_run"), ("a", "a", "positive", "noise"),
        ("b", "c", "negative", "task"), ("c", "a", "positive", "same_run"), ("c", "gone", "positive", "same_task"),
    ]  # fmt: skip
    names = PAIRS.schema.names[:4]
    table = [dict(zip(names, row, strict=True)) for row in rows]
    write_parquet(pa.Table.from_pylist(table, schema=PAIRS.schema), lake.pairs)
    partners = Partners.read(lake, ["c", "b", "a"])
    assert [partners.of(number).tolist() for number in range(3)] == [[2], [], [0, 1]]
    assert read_pair_settings(lake) == PairSettings(), "tables of earlier versions say nothing"

"""Samples of the networks in the lake."""

from __future__ import annotations

from pathlib import Path

import pytest

from peace_pipeline.lake import Lake
from peace_pipeline.zoo.listing import (
    TEST,
    TRAIN,
    VALIDATION,
    count_listings,
    listings,
    sample_listings,
    split_of,
)
from tests.lakes import card_of, directory, ingest, write_network


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Twenty networks of two architectures and five recipes."""
    root = tmp_path_factory.mktemp("listing")
    for number in range(20):
        card = card_of("digits", f"recipe-{number % 5}", f"run-{number}")
        write_network(root / "zoo" / f"n{number:02}", ("mlp", "cnn")[number % 2], number, card)
    lake = Lake.open(root / "home")
    ingest(lake, directory(root / "zoo"))
    return lake


def ids(sample: list) -> list[str]:
    return [listing.model_id for listing in sample]


def test_a_sample_larger_than_the_lake_is_all_of_it_in_order(filled: Lake) -> None:
    assert sample_listings(filled, 100, seed=0) == listings(filled)


def test_a_seed_draws_the_same_again_and_another_one_others(filled: Lake) -> None:
    once, again, other = (ids(sample_listings(filled, 7, seed=seed)) for seed in (0, 0, 1))
    assert once == again != other
    assert len(once) == 7
    assert once == sorted(once)


def test_the_split_is_the_one_that_a_listing_says(filled: Lake) -> None:
    found = {split: sample_listings(filled, 100, seed=0, where=f"split = '{split}'") for split in SPLITS}
    assert {split: {each.split for each in sample} - {split} for split, sample in found.items()} == {
        split: set() for split in SPLITS
    }
    assert sum(map(len, found.values())) == count_listings(filled) == 20
    assert count_listings(filled, f"split = '{TRAIN}'") == len(found[TRAIN])


SPLITS = (TRAIN, VALIDATION, TEST)


def test_a_record_may_say_which_side_of_the_split_it_is_on(tmp_path: Path) -> None:
    claims = (*SPLITS, "80/20", None)
    for number in range(20):
        claim = claims[number % 5]
        card = card_of("digits", "recipe", f"run-{number}")
        if claim is not None:
            card = card.replace("{recipe:", f"{{split: {claim}, recipe:")
        write_network(tmp_path / "zoo" / f"n{number:02}", "mlp", number, card)
    lake = Lake.open(tmp_path / "home")
    ingest(lake, directory(tmp_path / "zoo"))
    found = listings(lake)
    for number, network in enumerate(found):
        claim = claims[number % 5]
        assert network.split == (claim if claim in SPLITS else split_of(network.run))
    for split in SPLITS:
        drawn = ids(sample_listings(lake, 100, seed=0, where=f"split = '{split}'"))
        assert drawn == [network.model_id for network in found if network.split == split]


def test_so_many_of_each_those_before_others(filled: Lake) -> None:
    found = sample_listings(filled, 3, seed=0, each="architecture", first="model_id < 'directory:zoo/n18'")
    assert sorted(each.architecture or "" for each in found) == ["cnn"] * 3 + ["mlp"] * 3
    assert {"directory:zoo/n18", "directory:zoo/n19"} <= set(ids(found))


def test_what_belongs_together_is_drawn_together(filled: Lake) -> None:
    found = sample_listings(filled, 8, seed=0, together="recipe")
    assert len({each.recipe for each in found}) == 2


def test_cards_are_read_where_they_are_asked_for_and_cut(filled: Lake) -> None:
    assert {each.card for each in sample_listings(filled, 3, seed=0)} == {""}
    assert {each.card for each in sample_listings(filled, 3, seed=0, card_size=12)} == {"---\npipeline"}


def test_an_empty_lake_has_none(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path)
    assert sample_listings(lake, 3, seed=0) == []
    assert count_listings(lake) == 0

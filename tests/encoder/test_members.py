"""Which networks are trained on: the samples are bounded, seeded, and steady as a zoo grows."""

from __future__ import annotations

from peace_pipeline.encoder.members import sample
from peace_pipeline.zoo.listing import Listing
from tests.encoder.test_relations import listing


def zoo(count: int) -> list[Listing]:
    return [listing(f"m{i:04}", parameters=100_000) for i in range(count)]


def test_a_small_zoo_is_taken_whole_in_its_order() -> None:
    assert sample(zoo(50), 50, 1024, seed=0) == zoo(50)


def test_samples_are_bounded_in_number_and_bytes() -> None:
    members = zoo(1000)
    drawn = sample(members, 100, 1024, seed=0)
    assert len(drawn) == 100
    assert drawn == sorted(drawn, key=lambda one: one.model_id)
    assert len(sample(members, 1000, 40, seed=0)) == 40 * 2**20 // 400_000


def test_another_seed_draws_others_and_a_grown_zoo_mostly_the_same() -> None:
    ids, other, grown = (
        {one.model_id for one in sample(zoo(count), 100, 1024, seed)}
        for count, seed in ((1000, 0), (1000, 1), (1100, 0))
    )
    assert len(ids & other) < 30
    assert len(ids & grown) > 80

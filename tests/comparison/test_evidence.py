"""What became of a layer is told from its values."""

from __future__ import annotations

import pytest
import torch

from peace_pipeline.comparison.evidence import (
    CAST,
    FINE_TUNED,
    PRUNED,
    QUANTISED,
    ROUNDINGS,
    Evidence,
    distance,
    few_levels,
    on_grid,
    pruned,
    relation_of,
    rounded,
    trained,
)


@pytest.fixture
def weight() -> torch.Tensor:
    return torch.randn(64, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("text", ROUNDINGS)
def test_a_rounded_layer_lies_on_the_grid_whichever_of_both_it_is(weight: torch.Tensor, text: str) -> None:
    relation, rounding = ROUNDINGS[text]
    for made, pair in (1, ([weight], [rounding(weight)])), (0, ([rounding(weight)], [weight])):
        assert on_grid(*pair) == Evidence(relation, text, made)
    assert on_grid([weight], [weight + 1e-3]) is None


def test_zeros_are_pruning_where_the_rest_stays(weight: torch.Tensor) -> None:
    def found(a: torch.Tensor, b: torch.Tensor) -> Evidence | None:
        return pruned({"weight": a}, {"weight": b}, ([a], [b]))

    holes = torch.where(weight.abs() > 0.5, weight, 0)
    text = f"{(holes == 0).double().mean():.0%} zeros"
    trained_on = holes + 0.01 * torch.randn_like(weight)
    assert found(weight, holes) == Evidence(PRUNED, text, 1)
    assert found(holes, weight) == Evidence(PRUNED, text, 0)
    assert found(holes, trained_on) == Evidence(PRUNED, text), "either may be older"
    assert found(weight, holes * 1.5) is None
    assert found(weight, weight) is None


def test_few_levels_are_a_quantisation(weight: torch.Tensor) -> None:
    assert few_levels(weight, (weight * 2).round() / 2) is not None
    assert few_levels(weight, weight + 1e-3) is None


def test_the_nearest_version_is_named_where_it_is_much_nearer() -> None:
    cast, whole = "rounded to float16", "rounded to 8-bit integers"
    assert rounded(1.0, [(cast, 1, 0.1), (whole, 0, 0.9)]) == Evidence(CAST, cast, 1)
    assert rounded(1.0, [(cast, 1, 0.8), (whole, 0, 0.9)]) is None


@pytest.mark.parametrize("rank", [1, 3])
def test_a_change_of_low_rank_is_told(weight: torch.Tensor, rank: int) -> None:
    change = torch.randn(64, rank, dtype=torch.float64) @ torch.randn(rank, 32, dtype=torch.float64)
    assert trained(weight, weight + change).text.endswith(f"of rank {rank}")
    assert "rank" not in trained(weight, weight + torch.randn(64, 32)).text


def test_most_values_decide_on_the_whole() -> None:
    found = [
        (Evidence(CAST, ""), 10),
        (Evidence(QUANTISED, ""), 6),
        (Evidence(None, ""), 50),
        (Evidence(QUANTISED, ""), 6),
    ]
    assert relation_of(found) == (QUANTISED, None)
    assert relation_of([(Evidence(None, "unchanged"), 5)]) == (FINE_TUNED, None)


def test_which_was_made_of_the_other_is_said_where_all_layers_agree() -> None:
    one, other = (Evidence(CAST, "", made) for made in (0, 1))
    assert relation_of([(one, 1), (one, 2), (Evidence(FINE_TUNED, ""), 1)]) == (CAST, 0)
    assert relation_of([(one, 1), (other, 2)]) == (CAST, None)
    assert relation_of([(one, 1), (Evidence(CAST, ""), 2)]) == (CAST, None)


def test_distance_is_relative_to_the_larger() -> None:
    assert distance({"weight": torch.ones(4)}, {"weight": torch.zeros(4)}) == pytest.approx(1)
    assert distance({"weight": torch.ones(4)}, {"weight": -torch.ones(4)}) == pytest.approx(2)
    assert distance({"weight": torch.zeros(4)}, {"weight": torch.zeros(4)}) == 0

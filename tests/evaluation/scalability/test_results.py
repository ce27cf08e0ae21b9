"""Exponents and extrapolations of costs that are known."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from peace_pipeline.evaluation.embedder import WEIGHTS_ALONE
from peace_pipeline.evaluation.scalability.embedding import Cost
from peace_pipeline.evaluation.scalability.indexing import IndexCost, Searches
from peace_pipeline.evaluation.scalability.results import Results, Sizes, exponent, slope

SIZES = (10**3, 10**4, 10**5, 10**6)


def results(recall: float = 1.0, power: float = 1.0) -> Results:
    """Costs in proportion to sizes, but for searches, which grow like a ``power``."""

    def searches(rows: int) -> Searches:
        return Searches(10, {name: 1e-6 * rows**power for name in ("p50", "p95", "p99")}, recall)

    return Results(
        encoder_version="e",
        seed=0,
        sizes=Sizes(),
        mean_weights=10_000,
        by_size={
            WEIGHTS_ALONE: {size: Cost(1e-8 * size, 4.0 * size) for size in SIZES},
            "features": {size: Cost(2e-9 * size, 4.0 * size) for size in SIZES},
        },
        by_number={count: Cost(1 + 0.01 * count, 0) for count in (100, 200)},
        by_rows={
            rows: IndexCost(rows * 1e-3, rows * 2e-3, rows * 4096, rows * 200, searches(rows), searches(rows))
            for rows in SIZES[1:]
        },
    )


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_a_power_law_s_exponent(power: float) -> None:
    assert exponent({size: 3e-9 * size**power for size in SIZES}) == pytest.approx(power)
    assert exponent({size: 1e-3 + 1e-7 * size for size in (*SIZES, 10**8)}) == pytest.approx(1, abs=0.02)


def test_what_hardly_grows_has_no_exponent() -> None:
    assert math.isnan(exponent(dict.fromkeys(SIZES, 1.0)))
    assert math.isnan(exponent({10: 1.0, 1000: 1.9}))


def test_what_one_more_costs() -> None:
    assert slope({100: 2.0, 200: 3.0}) == pytest.approx(0.01)
    assert slope({100: 2.0}) == pytest.approx(0.02)


def test_two_million_models() -> None:
    found = results()
    assert found.hours(10_000) == pytest.approx(2_000_000 * 0.01 / 3600)
    assert found.hours(1_010_000) == pytest.approx(2_000_000 * (0.01 + 1e6 * 1e-8) / 3600)
    assert found.bytes() == pytest.approx((2_000_000 * 4096, 2_000_000 * 200))
    assert found.hours_to_index() == pytest.approx(2_000_000 * 3e-3 / 3600)
    assert found.seconds_to_search("exact") == pytest.approx(2.0)
    assert results(power=0.0).seconds_to_search("exact") == pytest.approx(1e-6)


def test_losses_say_what_is_cheaper_and_what_is_not_found() -> None:
    lines = results(recall=0.9).losses()
    assert any(line.startswith("Layer statistics: cheaper than PEACE for 4 of 4 sizes") for line in lines)
    assert sum("0.900" in line for line in lines) == 3
    large = {WEIGHTS_ALONE: {10: Cost(2.1, 0)}, "features": {10: Cost(0.0304, 0)}}
    assert "(30.4 ms, PEACE 2.1 s)" in replace(results(), by_size=large).losses()[0]
    cheap = replace(results(), by_size={WEIGHTS_ALONE: {10: Cost(1.0, 0)}, "features": {10: Cost(2.0, 0)}})
    assert cheap.losses() == []

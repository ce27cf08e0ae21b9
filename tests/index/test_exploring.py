"""Which networks are asked where a score is dear."""

from __future__ import annotations

import numpy as np
import pytest

from peace_pipeline.index.exploring import MISSES, explore


def vectors(groups: int = 12, each: int = 25, seed: int = 0) -> np.ndarray:
    """Unit vectors (networks, 16) around so many directions."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(groups, 1, 16))
    found = (centres + 0.3 * rng.normal(size=(groups, each, 16))).reshape(-1, 16)
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("seed", range(5))
def test_what_is_near_to_what_did_well_is_asked(seed: int) -> None:
    """Scores fall with the distance to one network: 30 of 300 find it and its neighbours (30 by lot find one of the
    five nearest every other time)."""
    rows = vectors(seed=seed)
    scores = rows @ rows[137]
    asked = explore(rows, lambda place: float(scores[place]), 30)
    assert len(asked) == 30
    best = np.argsort(-scores)[:5]
    assert len(set(best.tolist()) & asked.keys()) >= 4


def test_every_network_is_asked_once_where_there_are_few() -> None:
    rows = vectors(2, 4)
    order: list[int] = []
    asked = explore(rows, lambda place: order.append(place) or float(place), 30)  # type: ignore[func-returns-value]
    assert sorted(order) == list(range(8))
    assert asked == {place: float(place) for place in range(8)}
    assert explore(rows[:0], lambda place: 1.0, 3) == {}


def test_what_has_no_score_is_avoided_with_what_is_like_it() -> None:
    rows = vectors()
    groups = np.arange(300) // 25
    asked = explore(rows, lambda place: 1.0 + place / 300 if groups[place] in (3, 7) else None, 20)
    known = [place for place, value in asked.items() if value is not None]
    assert len(known) == 20
    assert {*groups[known]} == {3, 7}
    assert len(asked) < 40, "of 300, of which 50 have a score"
    nothing = explore(rows, lambda place: None, 5)
    assert len(nothing) == MISSES * 5
    assert set(nothing.values()) == {None}

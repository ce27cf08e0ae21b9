"""How methods choose, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from peace_pipeline.evaluation.transfer.methods import (
    DRAWS,
    EXPLAINED,
    HINDSIGHT,
    HYBRID,
    OWN_SHAPES,
    RANDOM,
    RANDOM_LOGME,
    RAW_HYBRID,
    RECOMMENDED,
    SCRATCH,
    TITLES,
    WORDED,
    choose,
    joined,
    of_own_shape,
    recommended,
    rules_of_thumb,
)
from peace_pipeline.evaluation.transfer.outcomes import Outcomes
from peace_pipeline.zoo.listing import Listing
from tests.evaluation.conftest import listed, networks_of


def listing(accuracy: float | None, parameters: int) -> Listing:
    (network,) = networks_of("mlp", 1)
    return listed(network, accuracy=accuracy, parameters=parameters).listing


def test_rules_of_thumb() -> None:
    found = rules_of_thumb([listing(0.9, 10), listing(0.8, 30), listing(None, 20)])
    assert found["own_accuracy"].argmax() == 0
    assert found["own_accuracy"].argmin() == 2
    assert found["largest"].argmax() == 1
    assert found["large_and_accurate"] == pytest.approx([2 / 3, 1 / 3 + 2 / 3, 1 / 3])


def test_likeness_is_to_the_probe_of_the_own_shape() -> None:
    similarity = np.array([[0.2, 0.9, 0.4], [0.6, 0.7, -np.inf], [0.1, 0.3, 0.5]])
    found = of_own_shape(similarity, np.array([[0, 0, 1], [2, -1, 2]]))
    assert found.tolist() == [[0.2, 0.9, -np.inf], [0.1, -np.inf, 0.5]]


def test_words_and_likeness_are_joined() -> None:
    """The first by both is neither's first; what the description's words don't hold is ranked by likeness alone."""
    likeness = np.array([[[0.9, 0.8, 0.1, 0.5]]])
    words = np.array([[[-np.inf, 2.0, 3.0, -np.inf]]])
    found = joined({"peace": likeness, "raw_responses": -likeness, "bm25": words})
    assert found[HYBRID].shape == (1, 1, 4)
    assert (-found[HYBRID]).argsort().ravel().tolist() == [1, 2, 0, 3]
    assert found[RAW_HYBRID].argmax() == 2


SCORED = TITLES.keys() - {RANDOM, SCRATCH, OWN_SHAPES, HINDSIGHT, RANDOM_LOGME}


@pytest.fixture
def outcomes() -> Outcomes:
    """One target, two seeds, five candidates and two new networks; the third candidate can't read the target."""
    final = np.array([0.1, 0.2, np.nan, 0.9, 0.3, 0.5, 0.6])
    curves = np.broadcast_to(np.stack([final * 0, final], 1), (1, 2, 7, 2)).copy()
    return Outcomes((0, 10), 5, curves, curves, curves, np.full((1, 2, 7), 0.01), np.array([5, 5, 6, 6, 6]))


def test_the_first_of_those_that_can_read_the_target(outcomes: Outcomes) -> None:
    scores = np.broadcast_to(np.array([0.5, -np.inf, 9.0, -0.7, 0.1]), (1, 2, 5))
    chosen = choose(dict.fromkeys(SCORED, scores), outcomes, 3, 0)
    assert list(chosen) == list(TITLES)
    assert chosen["peace"][0, :, 0].tolist() == [[0, 4, 3]] * 2
    assert chosen[HINDSIGHT][0, :, 0].tolist() == [[3, 4, 1]] * 2
    assert chosen[OWN_SHAPES][0, :, 0].tolist() == [[5, 6, 6]] * 2
    assert (chosen[SCRATCH] == outcomes.alike[chosen[RANDOM]]).all()
    assert chosen[RANDOM].shape == (1, 2, DRAWS, 3)
    counted = np.bincount(chosen[RANDOM].ravel(), minlength=5)
    assert counted[2] == 0
    assert counted[[0, 1, 3, 4]] == pytest.approx(2 * DRAWS * 3 / 4, rel=0.2)


def test_ties_are_broken_at_random(outcomes: Outcomes) -> None:
    level = dict.fromkeys(SCORED, np.zeros((1, 2, 5)))
    found = [choose(level, outcomes, 2, seed)["logme"].tolist() for seed in range(8)]
    assert len({str(each) for each in found}) > 1


def test_of_a_random_shortlist_those_that_logme_prefers(outcomes: Outcomes) -> None:
    scores = dict.fromkeys(SCORED, np.zeros((1, 2, 5)))
    scores["logme"] = np.broadcast_to(np.array([0.1, 0.5, 9.0, 0.9, 0.4]), (1, 2, 5))
    chosen = choose(scores, outcomes, 1, 0, tries=2)
    assert chosen["logme"].ravel().tolist() == [3, 3]
    assert set(chosen[RANDOM_LOGME].ravel()) == {1, 3, 4}


def test_of_those_that_are_run_on_the_examples_only_some_are_known() -> None:
    """Those near to what does well, of which a third of all are; where there are words, first what has them."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(3, 1, 8)) + 3
    vectors = (centres + 0.05 * rng.normal(size=(3, 10, 8))).reshape(-1, 8)
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    logme = (vectors @ vectors[25])[None, None].astype(np.float64)
    possible = np.ones((1, 1, 30), bool)
    possible[..., 25] = False
    words = np.full((1, 1, 30), -np.inf)
    words[..., [4, 7]] = 1.0, 2.0
    found = recommended(vectors, logme, words, possible, tries=8)
    known = {name: np.flatnonzero(values[0, 0] > -np.inf) for name, values in found.items()}
    assert {name: len(places) for name, places in known.items()} == {RECOMMENDED: 8, WORDED: 8}
    for name, values in found.items():
        assert np.array_equal(values[0, 0][known[name]], logme[0, 0][known[name]])
        assert 25 not in known[name], "it can't read the target"
        assert len(set(known[name]) & set(range(20, 30))) >= 5
    assert {4, 7} <= set(known[WORDED])


def test_every_method_is_explained() -> None:
    assert EXPLAINED.keys() == TITLES.keys() - {"peace_weights"}

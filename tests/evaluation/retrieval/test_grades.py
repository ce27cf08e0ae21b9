"""Which pairs count, by hand."""

from __future__ import annotations

import numpy as np

from peace_pipeline.evaluation.population import Member
from peace_pipeline.evaluation.retrieval.grades import relevance, same_function, same_task
from peace_pipeline.evaluation.retrieval.results import ALL

from ..conftest import listed, networks_of


def members() -> list[Member]:
    """Two networks of a run and one of another run of task a, one with shuffled labels, one of task b."""
    fields = [
        {"task": "a", "run": "1"},
        {"task": "a", "run": "1"},
        {"task": "a", "run": "2"},
        {"task": "a", "run": "3", "shuffled_labels": True},
        {"task": "b", "run": "4"},
    ]
    rows = zip(networks_of("mlp", 5), fields, strict=True)
    pairs = [listed(network, **row) for network, row in rows]
    return [Member(each.listing, each.network.wiring) for each in pairs]


def test_relevance_by_hand() -> None:
    listings = [member.listing for member in members()]
    relevant, excluded = relevance(listings, listings)
    assert np.argwhere(relevant & ~excluded).tolist() == [[0, 2], [1, 2], [2, 0], [2, 1]]
    assert np.argwhere(excluded & ~np.eye(5, dtype=bool)).tolist() == [[0, 1], [1, 0]]


def test_some_of_the_gallery_may_ask() -> None:
    queries = np.array([4, 2])
    similarity = np.array([[0.1, 0.2, 0.3, 0.4, 0.9], [0.5, 0.4, 0.9, 0.2, 0.1]])
    function = same_function(members(), queries, {"peace": similarity}, seed=0)
    assert function.estimate("peace", "recall_at_1").mean == 1
    task = same_task(members(), queries, {"peace": similarity}, seed=0)
    assert task.scopes[ALL]["peace"].queries.tolist() == [1]
    assert task.estimate("peace", "map").mean == 1

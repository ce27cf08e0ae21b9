"""Raw responses compare what can be compared, across architectures, at a bounded length."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from peace_pipeline.evaluation.baselines.responses import MOST_VALUES, probabilities
from peace_pipeline.evaluation.population import Listed, cohorts
from peace_pipeline.responses.answers import Response
from peace_pipeline.responses.standard import NUMBERS, PROBES, TOKENS, VERSION

from .networks import population, similarity


def answering(networks: list[Listed], outputs: int = 4, kind: str = NUMBERS, seed: int = 0) -> list[Listed]:
    """The same networks; those of a task answer alike, but for noise, and all of them favour one output."""
    generator = np.random.default_rng(seed)
    common = 3.0 * (np.arange(outputs) == 0)
    of_task = {
        task: np.random.default_rng(i).normal(size=(PROBES, outputs)) for i, task in enumerate(("cat", "dog"))
    }

    def response(each: Listed) -> Response:
        own = of_task[each.listing.task or ""] + 0.3 * generator.normal(size=(PROBES, outputs))
        return Response(each.network.key, kind, (common + own).astype(np.float32), VERSION, "test")

    return [each._replace(response=response(each)) for each in networks]


def keyed(each: Listed, prefix: str) -> Listed:
    """The same network under another name."""
    return each._replace(network=replace(each.network, key=prefix + each.network.key))


def test_networks_of_a_task_are_alike_in_any_architecture() -> None:
    found = similarity("raw_responses", answering(population(0), seed=1), answering(population(1), seed=2))
    task = np.arange(24) % 2
    same = task[:, None] == task
    assert found[same].min() > 0 > found[~same].max()


def test_what_was_not_run_or_is_asked_otherwise_cannot_be_compared() -> None:
    networks = population(0, 4)
    groups = answering(networks), answering(networks, kind=TOKENS), answering(networks, outputs=5), networks
    gallery = [keyed(each, f"{place}") for place, group in enumerate(groups) for each in group]
    found = similarity("raw_responses", answering(networks), gallery)
    assert np.isfinite(found[:, :8]).all()
    assert np.isneginf(found[:, 8:]).all()


def test_answers_of_many_outputs_are_kept_to_fewer_probes() -> None:
    for outputs in (4, 33, 48, 1000):
        (cohort, *_) = cohorts(answering(population(0, 2), outputs))
        for vector in probabilities(cohort):
            assert len(vector) == 2 + outputs * min(PROBES, MOST_VALUES // outputs)
            assert np.allclose(vector[2:].reshape(-1, outputs).sum(1, dtype=np.float32), 1, atol=0.01)


def test_as_many_values_of_other_outputs_are_not_compared() -> None:
    few, many = (answering(population(0, 2), outputs) for outputs in (33, 48))
    assert np.isneginf(similarity("raw_responses", few, many)).all()

"""Networks, asked within bounds: together as alone, and never at any price."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from peace_pipeline.responses.answers import NotRun, Response
from peace_pipeline.responses.probes import InputSpec
from peace_pipeline.responses.runners.model import MOST_INPUTS, Ready, Seen, labels_of
from peace_pipeline.responses.running import Limits, run

SPEC = InputSpec("numbers", (4,))


def linear(networks: Sequence[Any], inputs: torch.Tensor) -> Seen:
    return Seen(torch.einsum("pi,nio->npo", inputs, torch.stack(list(networks))), None)


def networks(count: int, alike: str | None = "a", spec: InputSpec = SPEC, ask: Any = linear) -> list[Ready]:
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(4, 3, generator=generator) for _ in range(count)]
    return [Ready(str(place), "test", spec, weight, ask, None, alike) for place, weight in enumerate(weights)]


def answers(found: Any) -> dict[str, np.ndarray]:
    return {each.key: each.outputs for each in found if isinstance(each, Response)}


def test_networks_that_are_alike_answer_together_as_alone() -> None:
    together = answers(run(networks(7), Limits(together=3)))
    alone = answers(run(networks(7, alike=None), Limits()))
    assert together.keys() == alone.keys() == {str(place) for place in range(7)}
    assert all(np.allclose(together[key], alone[key], atol=1e-6) for key in alone)


def test_networks_that_wait_for_others_are_bounded_by_bytes() -> None:
    """Of five kinds that take turns, none of which comes to be ``together`` networks."""
    asked: list[int] = []

    def ask(several: Sequence[Any], inputs: torch.Tensor) -> Seen:
        asked.extend([len(several)] * (len(inputs) == 8))  # the first probes
        return linear(several, inputs)

    given = [
        replace(one, alike=str(place % 5), size=100 + place % 5)
        for place, one in enumerate(networks(60, ask=ask))
    ]
    most = 0

    def handed() -> Iterator[Ready]:
        nonlocal most
        for place, one in enumerate(given):
            yield one
            most = max(most, place + 1 - sum(asked))

    found = answers(run(handed(), Limits(held=1000)))
    assert found.keys() == {one.key for one in given}
    assert 5 < most < 10
    assert len(asked) > 5


def test_one_that_fails_doesn_t_stop_those_that_it_is_asked_with() -> None:
    several = networks(3)
    several[1].network.fill_(np.nan)
    found = {each.key: each for each in run(several, Limits())}
    assert found["1"] == NotRun("1", "its answers are not finite")
    assert isinstance(found["0"], Response)
    assert isinstance(found["2"], Response)


def test_a_network_that_would_take_too_long_is_not_run() -> None:
    asked = []

    def slow(_: Sequence[Any], inputs: torch.Tensor) -> Seen:
        import time

        asked.append(len(inputs))
        time.sleep(1.1)
        return Seen(torch.zeros(1, len(inputs), 2), None)

    (found,) = run(networks(1, ask=slow), Limits(seconds=10))
    assert isinstance(found, NotRun)
    assert "would take about" in found.reason
    assert len(asked) == 1


def test_errors_of_a_library_are_reasons() -> None:
    def broken(_: Sequence[Any], __: torch.Tensor) -> Seen:
        raise RuntimeError("shapes\ndiffer")

    (found,) = run(networks(1, ask=broken), Limits())
    assert found == NotRun("0", "RuntimeError: shapes differ")


def test_limits() -> None:
    assert Limits.of("never") is None
    auto, always = Limits.of("auto"), Limits.of("always")
    assert auto
    assert "more than" in (auto.refuses(10**9) or "")
    assert auto.refuses(10**8) is None
    assert always
    assert always.refuses(10**12) is None
    assert MOST_INPUTS > 3 * 512 * 512


@pytest.mark.parametrize(
    ("given", "labels"),
    [
        ({"id2label": {"0": "cat", "1": "dog"}}, ("cat", "dog")),
        ({"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}, None),
        ({"id2label": {"0": "cat", "7": "dog"}}, None),
        ({"id2label": ["cat"]}, None),
        ({}, None),
    ],
)
def test_labels_are_those_that_somebody_named(given: dict[str, Any], labels: tuple[str, ...] | None) -> None:
    assert labels_of(given) == labels

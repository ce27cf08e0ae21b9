"""Raw responses are compared as they should be: within a kind of input, and in ProbeLog's way whatever the order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.peers.untrained import Answers, cosine

PLACES = np.arange(5)


@dataclass
class Heard:
    """What a comparison of responses looks at of a zoo."""

    responses: dict[int, tuple[str, NDArray[np.float32]]]
    networks: int

    def __len__(self) -> int:
        return self.networks


@pytest.fixture
def zoo() -> Heard:
    """Four networks that were run: two with the same outputs in another order, one with fewer, one that reads text."""
    random = np.random.default_rng(0)
    first, other, text = (random.standard_normal((7, 3)).astype(np.float32) for _ in range(3))
    responses = {
        0: ("numbers", first),
        1: ("numbers", first[:, [2, 0, 1]]),
        2: ("numbers", other[:, :2]),
        4: ("tokens", text),
    }
    return Heard(responses, len(PLACES))


@pytest.mark.parametrize("way", ["softmax", "roots", "logits", "probelog"])
def test_only_networks_with_inputs_of_one_kind_are_compared(zoo: Heard, way: str) -> None:
    similarity = getattr(Answers(zoo), way)(PLACES, PLACES)
    compared = np.isfinite(similarity)
    together = np.array([1, 1, 1, 0, 0]), np.array([0, 0, 0, 0, 1])
    assert (compared == sum(np.outer(kind, kind) for kind in together)).all()
    assert similarity[0, 0] == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(similarity[:3, :3], similarity[:3, :3].T, atol=1e-5)


def test_probelog_knows_outputs_in_another_order_and_cosines_do_not(zoo: Heard) -> None:
    answers = Answers(zoo)
    assert answers.probelog(PLACES, PLACES)[0, 1] == pytest.approx(1, abs=1e-5)
    assert answers.probelog(PLACES, PLACES)[0, 2] < 0.99
    assert answers.softmax(PLACES, PLACES)[0, 1] < 0.99
    assert answers.logits(PLACES, PLACES)[0, 1] < 0.99


def test_softmax_responses_are_cosines_of_what_differs_from_the_mean_network() -> None:
    random = np.random.default_rng(1)
    logits = random.standard_normal((3, 4, 2)).astype(np.float32)
    zoo = Heard({place: ("numbers", one) for place, one in enumerate(logits)}, 3)
    shares = np.exp(logits) / np.exp(logits).sum(2, keepdims=True)
    centred = (shares - shares.mean(0)).reshape(3, -1)
    expected = cosine(centred, np.arange(3), np.arange(3))
    np.testing.assert_allclose(Answers(zoo).softmax(np.arange(3), np.arange(3)), expected, atol=1e-5)


def test_a_missing_vector_is_like_nothing() -> None:
    vectors = np.array([[1.0, 0.0], [np.nan, np.nan]])
    assert cosine(vectors, np.arange(2), np.arange(2)).tolist() == [[1, -np.inf], [-np.inf, -np.inf]]

"""Cards, with and without the words that tell the answer."""

from __future__ import annotations

import numpy as np
import pytest

from peace_pipeline.evaluation.baselines.cards import blank, telling_words

from .networks import CARDS, population, similarity


def test_bm25_finds_the_task_in_full_cards_and_not_in_blanked_ones() -> None:
    networks = population(0)
    full = similarity("bm25", networks, networks)
    task = np.arange(24) % 2
    same = task[:, None] == task
    assert full[same].min() > full[~same].max()
    blanked = similarity("bm25_blanked", networks, networks)
    assert np.allclose(blanked[same].mean(), blanked[~same].mean())


def test_blanked_cards_hold_no_telling_word() -> None:
    words = telling_words(CARDS)
    assert {"cat", "dog", "image", "classification", "picture", "mlp", "zoo"} <= words
    for card in CARDS:
        text = blank(card, words)
        assert "---" not in text
        assert "cat" not in text.lower()
        assert "dog" not in text.lower()
        assert "network that sorts" in text


@pytest.mark.parametrize(
    "card", ["", "no front matter", "---\n: [broken\n---\nbody", "---\njust text\n---\nbody"]
)
def test_odd_cards_are_read_all_the_same(card: str) -> None:
    assert telling_words([card]) == set()
    assert "---" not in blank(card, set())

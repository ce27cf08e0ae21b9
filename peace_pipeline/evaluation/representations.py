"""What each method tells of a network as a vector of one length, so that a probe, a map or a distance can take it.

What a method reads differs in length from signature to signature (statistics of each layer, say), or from one number
of outputs to another. Such networks can't be compared: each kind gets coordinates of its own, where the others are 0,
so their cosine is 0.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import normalize

from peace_pipeline.evaluation.baselines.cards import blank, telling_words
from peace_pipeline.evaluation.baselines.registry import all_baselines
from peace_pipeline.evaluation.embedder import OWN, PEACE, WEIGHTS_ALONE, Embedder
from peace_pipeline.evaluation.population import Cohort, Listed
from peace_pipeline.evaluation.readings import Readings, Vectors, read

Matrix = NDArray[np.float64]
Mask = NDArray[np.bool_]
MOST, WORDS = 128, 2_048
"""Principal components of one kind of network, and words of cards, that are kept."""

RESPONSES, STATISTICS, CANONICAL, FLATTENED = (
    "raw_responses",
    "statistics",
    "statistics_canonical",
    "flattened",
)
CARDS, BLANKED, SHAPES, CHANCE = "cards", "cards_blanked", "shapes", "chance"
READ = (RESPONSES, STATISTICS, CANONICAL, FLATTENED)
"""Baselines whose readers give what is represented."""
TITLES = {
    **OWN,
    **{name: all_baselines()[name].title for name in READ},
    CARDS: "Metadata: words of the card",
    BLANKED: "Metadata: words of the blanked card",
    SHAPES: "Shapes alone",
    CHANCE: "Chance",
}
KNOW_CARDS = (CARDS, BLANKED)
DESCRIPTION = (
    "Every method is a vector for each network. Raw responses (softmax outputs to the probes), layer statistics and "
    "flattened weights are centred on the training split, statistics also scaled, and cut to at most "
    f"{MOST} principal components of it, each kind of network (signature, number of outputs) in coordinates of its own "
    "(a kind of which fewer than two were trained on is centred on itself). "
    f"Metadata are the words of the model card (TF-IDF, at most {WORDS:,} words), whole, and without front matter "
    "and words that name a task, dataset, tag or label. Chance are random vectors."
)


def read_all(
    networks: Iterable[Listed], embedder: Embedder, change: Callable[[Cohort], Cohort] | None = None
) -> dict[str, Readings]:
    """What is represented, by method: what PEACE and the readers of ``READ`` read of networks (after a ``change``)."""
    readers = {name: all_baselines()[name].reads for name in READ}
    return embedder.parted(read(networks, {**readers, PEACE: embedder}, change))


def joined(one: Mapping[str, Readings], other: Mapping[str, Readings]) -> dict[str, Readings]:
    """Two readings, one after the other."""
    return {
        name: Readings([*readings.members, *other[name].members], [*readings.vectors, *other[name].vectors])
        for name, readings in one.items()
    }


def represent(readings: Mapping[str, Readings], train: Mask, seed: int) -> dict[str, Matrix]:
    """Unit vectors (networks, length) by every method of ``TITLES``: of networks that were read by the readers of
    ``READ`` and by PEACE, in one order. What is learned is learned of those networks that are in ``train``."""
    members = readings[PEACE].members
    signatures = [member.wiring.signature for member in members]
    answered = [vector[:2].tolist() if vector.size else [] for vector in readings[RESPONSES].vectors]
    asked = [tuple(way) or None for way in answered]
    answers = [vector[2:] for vector in readings[RESPONSES].vectors]
    cards = [member.listing.card for member in members]
    words = telling_words(cards)
    return {
        PEACE: readings[PEACE].matrix,
        WEIGHTS_ALONE: readings[WEIGHTS_ALONE].matrix,
        RESPONSES: in_blocks(answers, asked, train, seed),
        **{
            name: in_blocks(readings[name].vectors, signatures, train, seed, scaled=name != FLATTENED)
            for name in (STATISTICS, CANONICAL, FLATTENED)
        },
        CARDS: _words(cards, train),
        BLANKED: _words([blank(card, words) for card in cards], train),
        SHAPES: np.equal.outer(signatures, sorted(set(signatures))).astype(np.float64),
        CHANCE: normalize(np.random.default_rng(seed).normal(size=(len(members), MOST))),
    }


def in_blocks(
    vectors: Sequence[Vectors],
    kinds: Sequence[Hashable],
    train: Mask,
    seed: int,
    *,
    scaled: bool = False,
) -> Matrix:
    """Unit vectors of networks, those of each kind in columns of their own; of a network without a kind zeros.

    Centred, ``scaled`` where asked for, and cut to principal components, all of which is learned of the networks of
    the kind in ``train``, or of all of the kind where these are fewer than two.
    """
    places: dict[Hashable, list[int]] = defaultdict(list)
    for place, kind in enumerate(kinds):
        if kind is not None:
            places[kind].append(place)
    blocks = []
    for alike in places.values():
        values = np.stack([vectors[place] for place in alike]).astype(np.float64)
        known = values[train[alike]] if train[alike].sum() > 1 else values
        block = np.zeros((len(vectors), min(MOST, values.shape[1], len(known))))
        block[alike] = _projection(known, scaled, seed)(values)
        blocks.append(block)
    return np.concatenate(blocks, 1) if blocks else np.zeros((len(vectors), 1))


def _projection(known: Matrix, scaled: bool, seed: int) -> Callable[[Matrix], Matrix]:
    mean, deviation = known.mean(0), known.std(0)
    scale = np.where(deviation > 0, deviation, 1) if scaled else 1
    components = min(MOST, *known.shape)
    pca = PCA(components, random_state=seed).fit((known - mean) / scale)
    return lambda values: normalize(pca.transform((values - mean) / scale))


def _words(cards: Sequence[str], train: Mask) -> Matrix:
    """TF-IDF of cards; zeros where no card of the training split has a word."""
    known = [card for card, learns in zip(cards, train, strict=True) if learns]
    words = TfidfVectorizer(max_features=WORDS, sublinear_tf=True)
    try:
        return words.fit(known).transform(cards).toarray()
    except ValueError:  # no words
        return np.zeros((len(cards), 1))

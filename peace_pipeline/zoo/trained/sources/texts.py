"""Kinds of words, each a generator of data sets: letters as numbers 0 to 25, and how long the words are."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from ..data import CLS, FIRST_LETTER, LONGEST, PADDING, words
from .kinds import EXAMPLES, TEXT, Array, Kind, Raw, balanced, drawn

LATIN = ("ca", "hu", "id", "ms", "sh", "sk", "vi", "fil")  # none that the research zoo reads
VOWELS = (0, 4, 8, 14, 20)
ALPHABET = 26


def spelled(letters: Array, lengths: Array) -> Array:
    """Token ids (words, 12) of ``letters`` (words, at most 11), cut to their lengths."""
    padded = np.pad(letters, ((0, 0), (0, LONGEST - letters.shape[1])))
    tokens = np.where(np.arange(LONGEST) < lengths[:, None], padded + FIRST_LETTER, PADDING)
    return np.column_stack([np.full(len(tokens), CLS), tokens]).astype(np.int64)


def lengths(rng: Generator) -> Array:
    """Of words, from three letters to the longest."""
    return rng.binomial(LONGEST - 3, rng.uniform(0.2, 0.6), EXAMPLES) + 3


def pseudo_words(rng: Generator) -> tuple[Array, Array]:
    """Letters and lengths of words of one invented language."""
    odds = rng.dirichlet([0.5] * ALPHABET).cumsum()
    return np.searchsorted(odds, rng.random((EXAMPLES, LONGEST))).clip(0, ALPHABET - 1), lengths(rng)


def markov(rng: Generator, classes: int) -> Raw:
    """Words of invented languages, in which every letter depends on the one before."""
    y = drawn(rng, classes)
    odds = rng.dirichlet([rng.uniform(0.08, 0.4)] * ALPHABET, size=(classes, ALPHABET + 1)).cumsum(2)
    letters = np.zeros((EXAMPLES, LONGEST), np.int64)
    before = np.full(EXAMPLES, ALPHABET)
    for place in range(LONGEST):
        before = (rng.random((EXAMPLES, 1)) > odds[y, before]).sum(1).clip(0, ALPHABET - 1)
        letters[:, place] = before
    return spelled(letters, lengths(rng)), y


def syllables(rng: Generator, classes: int) -> Raw:
    """Words of invented languages, each with syllables of its own."""
    y = drawn(rng, classes)
    consonants = np.setdiff1d(np.arange(ALPHABET), VOWELS)
    count = int(rng.integers(6, 20))
    first, last = (rng.choice(part, (classes, count)) for part in (consonants, VOWELS))
    chosen = rng.integers(count, size=(EXAMPLES, LONGEST // 2))
    letters = np.stack([first[y[:, None], chosen], last[y[:, None], chosen]], 2).reshape(EXAMPLES, -1)
    return spelled(letters, 2 * rng.integers(2, 6, EXAMPLES)), y


def languages(rng: Generator, classes: int) -> Raw:
    """Words of some real languages (wordfreq)."""
    x, y = words(tuple(rng.permutation(LATIN)[:classes].tolist()))
    return _some(rng, x, y)


def _some(rng: Generator, x: Array, y: Array) -> Raw:
    """At most EXAMPLES of the words."""
    chosen = rng.permutation(len(x))[:EXAMPLES]
    return x[chosen], y[chosen]


def spelling_rules(rng: Generator, classes: int) -> Raw:
    """Real words (wordfreq): their length, vowels, first or last letter, or whether they have a letter."""
    x, _ = _some(rng, *words(LATIN))
    letters, ends = x[:, 1:], (x > PADDING).sum(1) - 1
    values = letters - FIRST_LETTER
    facts = [
        ends,
        np.isin(values, VOWELS).sum(1),
        rng.permutation(64)[letters[:, 0]],
        rng.permutation(64)[letters[np.arange(len(x)), ends - 1]],
        (values == rng.choice([0, 4, 8, 14, 20, 11, 13, 17, 18, 19])).any(1),
    ]
    fact = facts[rng.integers(5 if classes == 2 else 4)]
    return x, _ordered(fact, classes)


def _ordered(fact: Array, classes: int) -> Array:
    """Classes of about equal size by the order of whole numbers, equal ones in one class."""
    _, value, count = np.unique(fact, return_inverse=True, return_counts=True)
    middle = (count.cumsum() - count / 2) / len(fact)
    return np.unique((middle * classes).astype(int)[value], return_inverse=True)[1]


def letter_teachers(rng: Generator, classes: int) -> Raw:
    """Invented words, labelled by random scores of their letters, wherever or place by place."""
    letters, sizes = pseudo_words(rng)
    scores = rng.normal(size=(LONGEST, ALPHABET, classes))
    if rng.random() < 0.6:
        scores[:] = scores[0]
    shown = np.arange(LONGEST) < sizes[:, None]
    total = (scores[np.arange(LONGEST), letters] * shown[..., None]).sum(1)
    return spelled(letters, sizes), balanced(total)


def misspellings(rng: Generator, classes: int) -> Raw:
    """A few words, with many of their letters wrong."""
    y, size = drawn(rng, classes), int(rng.integers(5, LONGEST + 1))
    right = rng.integers(ALPHABET, size=(classes, size))[y]
    wrong = rng.random((EXAMPLES, size)) < rng.uniform(0.2, 0.55)
    return spelled(
        np.where(wrong, rng.integers(ALPHABET, size=(EXAMPLES, size)), right), np.full(EXAMPLES, size)
    ), y


def alphabets(rng: Generator, classes: int) -> Raw:
    """Words of the letters that each class likes, in any order."""
    y = drawn(rng, classes)
    odds = rng.dirichlet([rng.uniform(0.4, 1.2)] * ALPHABET, size=classes).cumsum(1)
    letters = (rng.random((EXAMPLES, LONGEST, 1)) > odds[y][:, None]).sum(2).clip(0, ALPHABET - 1)
    return spelled(letters, lengths(rng)), y


def infixes(rng: Generator, classes: int) -> Raw:
    """Invented words with two letters of the class somewhere in them."""
    letters, sizes = pseudo_words(rng)
    y, pairs = drawn(rng, classes), rng.integers(ALPHABET, size=(classes, 2))
    place = (rng.random(EXAMPLES) * (sizes - 1)).astype(int)
    letters[np.arange(EXAMPLES), place], letters[np.arange(EXAMPLES), place + 1] = pairs[y].T
    return spelled(letters, sizes), y


TEXTS = {
    "markov": Kind("words of invented languages", TEXT, markov),
    "syllables": Kind("words of invented syllables", TEXT, syllables),
    "languages": Kind("the language of a word (wordfreq)", TEXT, languages, (2, 3, 4, 5, 6)),
    "spelling-rules": Kind("how words are spelled (wordfreq)", TEXT, spelling_rules, (2, 3, 4)),
    "letter-teachers": Kind(
        "invented words, labelled by their letters", TEXT, letter_teachers, (2, 3, 4, 5, 6)
    ),
    "misspellings": Kind("misspelled words", TEXT, misspellings),
    "alphabets": Kind("words of favourite letters", TEXT, alphabets),
    "infixes": Kind("pairs of letters in words", TEXT, infixes, (2, 3, 4, 5, 6)),
}

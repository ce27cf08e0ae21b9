"""Kinds of data that only test networks see."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from ..data import words
from .images import moved, soft
from .kinds import EXAMPLES, IMAGE, SIGNAL, TABLE, TEXT, Kind, Raw, drawn, noisy, quantised
from .signals import TIME
from .texts import ALPHABET, pseudo_words, spelled

OTHER_SCRIPTS = ("ar", "fa", "ur", "hi", "bn", "ta", "el", "he")


def bars(rng: Generator, classes: int) -> Raw:
    """Bars across the image at any places: the class is how many of them are upright."""
    count = classes - 1
    y = drawn(rng, classes)
    upright = np.arange(count) < y[:, None]
    places = rng.random((EXAMPLES, 2, 8)).argsort(2)[..., :count]
    shown = (np.arange(8) == places[..., None]) & np.stack([upright, ~upright], 1)[..., None]
    down, across = shown.any(2).swapaxes(0, 1)
    x = (down[:, None, :] | across[:, :, None]).reshape(EXAMPLES, 64).astype(float)
    return noisy(rng, x, 0, 0.4), y


def faces(rng: Generator, classes: int) -> Raw:
    """Round faces of a class's eyes, mouth and size, a little out of place."""
    y = drawn(rng, classes)
    u, v = moved(rng, 0.12, 0.15, 0.1)
    apart, high, bent, wide, round_ = rng.uniform(
        [0.2, 0.1, -0.5, 0.2, 0.7], [0.6, 0.5, 0.5, 0.6, 1.1], (classes, 5)
    )[y].T[..., None]
    eyes = np.hypot(abs(u) - apart, v + high) - 0.12
    mouth = np.maximum(abs(v - 0.4 + bent * (u**2 / 0.2 - 0.5)) - 0.12, abs(u) - wide)
    x = soft(abs(np.hypot(u, v) - round_) - 0.1) + soft(eyes) + soft(mouth)
    return noisy(rng, x, 0.1, 0.6), y


def waveforms(rng: Generator, classes: int) -> Raw:
    """Sine, triangle, saw, ramp, rectified, square and cubed waves of any pitch and phase."""
    y = drawn(rng, classes)
    phase = (TIME * rng.uniform(1, 5, (EXAMPLES, 1)) + rng.random((EXAMPLES, 1))) % 1
    sine = np.sin(2 * np.pi * phase)
    waves = np.stack(
        [
            sine,
            4 * abs(phase - 0.5) - 1,
            2 * phase - 1,
            1 - 2 * phase,
            2 * abs(sine) - 1,
            np.sign(sine),
            sine**3,
        ]
    )
    return noisy(rng, waves[rng.permutation(7)[:classes][y], np.arange(EXAMPLES)], 0, 0.4), y


def ringing(rng: Generator, classes: int) -> Raw:
    """A blow at some time and its fading ring; the class is how fast it fades, or when it came."""
    y = drawn(rng, classes)
    fact = (y + rng.uniform(0.2, 0.8, EXAMPLES)) / classes
    other = rng.uniform(0, 1, EXAMPLES)
    when, fade = (fact, other) if rng.random() < 0.5 else (other * 0.3, fact)
    after = TIME - 0.8 * when[:, None]
    x = (
        np.exp(-after * np.exp(1 + 2.5 * fade[:, None]))
        * np.sin(2 * np.pi * rng.uniform(4, 12) * after)
        * (after > 0)
    )
    return noisy(rng, x, 0, 0.4), y


def votes(rng: Generator, classes: int) -> Raw:
    """How many of some yes-or-no answers are yes, some counting against."""
    x = rng.random((EXAMPLES, int(rng.integers(8, 32)))) < rng.uniform(0.3, 0.7)
    weights = rng.choice([-1, 0, 1, 1], x.shape[1])
    return x + rng.normal(scale=0.01, size=x.shape), quantised(
        x @ weights + rng.random(EXAMPLES) * 0.5, classes
    )


def ratios(rng: Generator, classes: int) -> Raw:
    """The ratio of two features, among others."""
    x = np.exp(rng.normal(size=(EXAMPLES, int(rng.integers(2, 8)))))
    return x, quantised(x[:, 0] / x[:, 1], classes)


def affixes(rng: Generator, classes: int) -> Raw:
    """Invented words that begin, or end, as the class does."""
    letters, _ = pseudo_words(rng)
    sizes = rng.integers(5, 9, EXAMPLES)
    y, affix = drawn(rng, classes), rng.integers(ALPHABET, size=(classes, 3))
    start = sizes * int(rng.integers(2))
    letters[np.arange(EXAMPLES)[:, None], start[:, None] + np.arange(3)] = affix[y]
    return spelled(letters, sizes + 3), y


def scripts(rng: Generator, classes: int) -> Raw:
    """Words of languages in other scripts (wordfreq)."""
    x, y = words(tuple(rng.permutation(OTHER_SCRIPTS)[:classes].tolist()))
    chosen = rng.permutation(len(x))[:EXAMPLES]
    return x[chosen], y[chosen]


TEST_KINDS = {
    "bars": Kind("upright bars", IMAGE, bars, (2, 3, 4, 5)),
    "faces": Kind("drawn faces", IMAGE, faces),
    "waveforms": Kind("waveforms", SIGNAL, waveforms, (2, 3, 4, 5, 6)),
    "ringing": Kind("fading rings", SIGNAL, ringing, (2, 3, 4, 5)),
    "votes": Kind("counted votes", TABLE, votes, (2, 3, 4, 5)),
    "ratios": Kind("ratios of features", TABLE, ratios, (2, 3, 4, 5)),
    "affixes": Kind("beginnings and ends of words", TEXT, affixes),
    "scripts": Kind("the language of a word in another script (wordfreq)", TEXT, scripts, (2, 3, 4, 5, 6)),
}

"""Kinds of data that only validation networks see."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.random import Generator

from ..data import words
from .images import moved
from .kinds import EXAMPLES, IMAGE, SIGNAL, TABLE, TEXT, Array, Kind, Raw, drawn, noisy, quantised
from .signals import TIME
from .tables import features
from .texts import ALPHABET, LONGEST, lengths, spelled

CYRILLIC = ("bg", "mk", "ru", "uk")


@cache
def _glyphs() -> Array:
    """The capital letters in Pillow's own font, 32×32."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(28)
    glyphs = []
    for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ":
        image = Image.new("L", (32, 32))
        ImageDraw.Draw(image).text((16, 16), letter, 255, font, anchor="mm")
        glyphs.append(np.asarray(image) / 255)
    return np.stack(glyphs)


def letters(rng: Generator, classes: int) -> Raw:
    """Capital letters, shifted, turned and stretched."""
    y = drawn(rng, classes)
    u, v = moved(rng, 0.2, 0.3, 0.15)
    across, down = (np.clip(16 + 13 * part, 0, 31).round().astype(int) for part in (u, v))
    near = [np.roll(_glyphs(), (i, j), (1, 2)) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    blurred = np.mean(near, 0)
    return noisy(rng, blurred[rng.permutation(26)[:classes][y][:, None], down, across], 0, 0.4), y


def ripples(rng: Generator, classes: int) -> Raw:
    """Rings of waves around a point; the class is how dense they are."""
    y = drawn(rng, classes)
    u, v = moved(rng, 0.8, 0, 0)
    dense = 2 + (y + rng.uniform(0, 0.6, EXAMPLES)) * 12 / classes
    x = np.cos(dense[:, None] * np.hypot(u, v) + rng.uniform(0, 2 * np.pi, (EXAMPLES, 1)))
    return noisy(rng, x, 0, 0.4), y


def chirps(rng: Generator, classes: int) -> Raw:
    """Tones that rise or fall from one pitch to another."""
    y = drawn(rng, classes)
    start, end = rng.uniform(1, 16, (2, classes))
    phase = (
        start[y][:, None] * TIME
        + (end - start)[y][:, None] * TIME**2 / 2
        + rng.uniform(-0.2, 0.2, (EXAMPLES, 1))
    )
    return noisy(rng, np.sin(2 * np.pi * phase), 0.1, 1), y


def pulses(rng: Generator, classes: int) -> Raw:
    """Square waves; the class is the share of time that they are up."""
    y = drawn(rng, classes)
    share = (y + rng.uniform(0.2, 0.8, EXAMPLES)) / classes
    phase = TIME * rng.uniform(2, 6, (EXAMPLES, 1)) + rng.random((EXAMPLES, 1))
    return noisy(rng, (phase % 1 < share[:, None]).astype(float), 0.1, 0.6), y


def shells(rng: Generator, classes: int) -> Raw:
    """How far from the middle a point lies, by some of its features."""
    x = rng.normal(size=(EXAMPLES, int(rng.integers(2, 10))))
    return x, quantised((x[:, :4] ** 2).sum(1), classes)


def ranks(rng: Generator, classes: int) -> Raw:
    """Which place one feature takes among others."""
    x = features(rng, classes, classes + 6)
    x = (x - x.mean(0)) / x.std(0) + rng.normal(scale=1e-3, size=x.shape)
    return x, (x[:, 1:classes] < x[:, :1]).sum(1)


def second_order(rng: Generator, classes: int) -> Raw:
    """Words of invented languages, in which every letter depends on the two before."""
    y, size = drawn(rng, classes), 8
    odds = rng.dirichlet([rng.uniform(0.1, 0.3)] * size, size=(classes, size, size)).cumsum(3)
    word = rng.integers(size, size=(EXAMPLES, LONGEST))
    for place in range(2, LONGEST):
        chances = odds[y, word[:, place - 2], word[:, place - 1]]
        word[:, place] = (rng.random((EXAMPLES, 1)) > chances).sum(1).clip(0, size - 1)
    return spelled(rng.permutation(ALPHABET)[word], lengths(rng) // 2 + 6), y


def cyrillic(rng: Generator, classes: int) -> Raw:
    """Words of languages in Cyrillic letters (wordfreq)."""
    x, y = words(tuple(rng.permutation(CYRILLIC)[:classes].tolist()))
    chosen = rng.permutation(len(x))[:EXAMPLES]
    return x[chosen], y[chosen]


VALIDATION_KINDS = {
    "letters": Kind("capital letters (Pillow)", IMAGE, letters),
    "ripples": Kind("ripples", IMAGE, ripples, (2, 3, 4, 5, 6)),
    "chirps": Kind("chirps", SIGNAL, chirps),
    "pulses": Kind("square waves", SIGNAL, pulses, (2, 3, 4, 5)),
    "shells": Kind("distances from the middle", TABLE, shells, (2, 3, 4)),
    "ranks": Kind("ranks of a feature", TABLE, ranks, (2, 3, 4, 5)),
    "second-order": Kind("words of invented languages of second order", TEXT, second_order),
    "cyrillic": Kind("the language of a Cyrillic word (wordfreq)", TEXT, cyrillic, (2, 3, 4), datasets=11),
}

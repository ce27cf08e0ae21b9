"""Kinds of data of the foreign zoo, which nothing else has: for tests alone."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from .images import U, V, moved
from .kinds import EXAMPLES, IMAGE, SIGNAL, TABLE, TEXT, Array, Kind, Raw, drawn, noisy, quantised
from .signals import TIME
from .texts import ALPHABET, LONGEST, spelled

RULES = (22, 30, 54, 60, 90, 110, 150, 184)
RATIOS = ((1, 1), (1, 2), (1, 3), (2, 3), (3, 4), (2, 5))
BEATS = np.array([  # heights of P, Q, R, S, T and the width of R
    (0.25, -0.2, 1.5, -0.3, 0.4, 0.02),
    (0.0, -0.2, 1.5, -0.3, 0.4, 0.02),
    (0.25, -0.2, 1.5, -0.3, -0.4, 0.02),
    (0.25, -0.1, 1.2, -0.6, 0.5, 0.05),
    (0.25, -0.6, 0.8, 0.3, 0.6, 0.02),
])  # fmt: skip
BEAT_PLACES = np.array([-0.18, -0.05, 0, 0.05, 0.25])
NUMERALS = {
    **{1000: "m", 900: "cm", 500: "d", 400: "cd", 100: "c", 90: "xc", 50: "l", 40: "xl"},
    **{10: "x", 9: "ix", 5: "v", 4: "iv", 1: "i"},
}
KEYBOARDS = (
    ("qwertyuiop", "asdfghjkl", "zxcvbnm"),
    ("azertyuiop", "qsdfghjklm", "wxcvbn"),
    ("pyfgcrl", "aoeuidhtns", "qjkxbmwvz"),
    ("qwfpgjluy", "arstdhneio", "zxcvbkm"),
)


def automata(rng: Generator, classes: int) -> Raw:
    """Rows that an elementary cellular automaton gives one after another; the class is its rule."""
    y = drawn(rng, classes)
    rules = np.array(RULES)[:classes, None] >> np.arange(8) & 1
    cells = rng.integers(2, size=(EXAMPLES, 24))
    rows = []
    for _ in range(10):
        cells = rules[y[:, None], 4 * np.roll(cells, 1, 1) + 2 * cells + np.roll(cells, -1, 1)]
        rows.append(cells[:, :8])
    return np.stack(rows[2:], 1).reshape(EXAMPLES, 64).astype(float), y


def julia(rng: Generator, classes: int) -> Raw:
    """How soon points escape from Julia sets; the class is the set's constant."""
    y = drawn(rng, classes)
    angle = rng.permutation(classes) * 2 * np.pi / classes
    constant = 0.75 * np.exp(1j * angle[y])[:, None]
    u, v = moved(rng, 0.25, 0.15, 0.2)
    point, escaped = 1.3 * (u + 1j * v), np.zeros(u.shape)
    for _ in range(12):
        point = np.where(abs(point) < 4, point**2 + constant, point)
        escaped += abs(point) >= 4
    return noisy(rng, escaped, 0, 0.3), y


def fractals(rng: Generator, classes: int) -> Raw:
    """Noise whose power falls with a power of the frequency; the class is the power."""
    y = drawn(rng, classes)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(8), np.fft.fftfreq(8)))
    frequency[0, 0] = 1
    fall = (3.5 * (y + rng.uniform(0.2, 0.8, EXAMPLES)) / classes)[:, None, None]
    x = np.fft.ifft2(np.fft.fft2(rng.normal(size=(EXAMPLES, 8, 8))) * frequency ** (-fall)).real.reshape(
        EXAMPLES, 64
    )
    x = x - x.mean(1, keepdims=True)
    return x / x.std(1, keepdims=True), y


def lissajous(rng: Generator, classes: int) -> Raw:
    """Lissajous figures; the class is the ratio of the frequencies."""
    y, time = drawn(rng, classes), np.linspace(0, 2 * np.pi, 96)
    a, b = np.array(RATIOS)[y].T[..., None]
    u, v = np.sin(a * time + rng.uniform(0, np.pi, (EXAMPLES, 1))), np.sin(b * time)
    size = rng.uniform(0.7, 1, (EXAMPLES, 1))
    far = (U - (size * u)[..., None]) ** 2 + (V - (size * v)[..., None]) ** 2
    return noisy(rng, np.exp(-far / (2 * 0.15**2)).max(1), 0, 0.2), y


def bridges(rng: Generator, classes: int) -> Raw:
    """Fractional Brownian bridges; the class is how rough they are."""
    y = drawn(rng, classes)
    rough = (y + rng.uniform(0.2, 0.8, EXAMPLES)) / classes
    waves = np.arange(1, 40)
    amounts = rng.normal(size=(EXAMPLES, 39)) * waves ** -(0.5 + rough[:, None])
    x = amounts @ np.sin(np.pi * np.outer(waves, TIME))
    return x / x.std(1, keepdims=True), y


def maps(rng: Generator, classes: int) -> Raw:
    """Chaotic sequences of the logistic, tent, sine, cubic and circle maps."""
    y, point = drawn(rng, classes), rng.uniform(0.1, 0.9, EXAMPLES)
    steps = []
    for _ in range(80):
        nexts = [
            3.9 * point * (1 - point),
            1.95 * np.minimum(point, 1 - point),
            0.97 * np.sin(np.pi * point),
            2.59 * point * (1 - point**2),
            (point + 0.31 + 0.25 * np.sin(2 * np.pi * point)) % 1,
        ]
        point = np.stack(nexts)[y, np.arange(EXAMPLES)].clip(0.001, 0.999)
        steps.append(point)
    return noisy(rng, np.stack(steps[16:], 1), 0, 0.1), y


def heartbeats(rng: Generator, classes: int) -> Raw:
    """Beats in the manner of electrocardiograms: sound, or with a wave missing, inverted, wide or raised."""
    y = drawn(rng, classes)
    *heights, wide = BEATS[y].T * np.exp(rng.normal(scale=0.1, size=(6, EXAMPLES)))
    phase = (TIME * rng.uniform(1.7, 2.3, (EXAMPLES, 1)) + rng.uniform(0, 0.3, (EXAMPLES, 1))) % 1 - 0.5
    widths = np.stack([np.full(EXAMPLES, 0.03), wide, wide, wide, np.full(EXAMPLES, 0.05)], 1)
    far = (phase[:, None] - BEAT_PLACES[:, None]) / widths[..., None]
    x = (np.stack(heights, 1)[..., None] * np.exp(-(far**2) / 2)).sum(1)
    return noisy(rng, x + rng.uniform(-0.2, 0.2, (EXAMPLES, 1)), 0.05, 0.2), y


def spirals(rng: Generator, classes: int) -> Raw:
    """Interleaved arms of a spiral."""
    y, along = drawn(rng, classes), rng.uniform(0.2, 1, EXAMPLES)
    angle = 2 * np.pi * (y / classes + 0.6 * along) + rng.normal(scale=0.12, size=EXAMPLES)
    return np.stack([along * np.cos(angle), along * np.sin(angle)], 1), y


def poker(rng: Generator, classes: int) -> Raw:
    """Hands of five cards, as counts of ranks and suits: nothing, a pair, two pairs, or three of a kind and more."""
    cards = rng.random((60_000, 52)).argsort(1)[:, :5]
    ranks, suits = (
        (part[..., None] == np.arange(size)).sum(1) for part, size in ((cards % 13, 13), (cards // 13, 4))
    )
    hand = np.where(ranks.max(1) > 2, 3, (ranks == 2).sum(1))
    chosen = np.concatenate([np.flatnonzero(hand == one)[: EXAMPLES // classes] for one in range(classes)])
    return np.column_stack([ranks, suits])[chosen].astype(float), hand[chosen]


def triangles(rng: Generator, classes: int) -> Raw:
    """Three points of the plane; the class is how large a triangle they are the corners of, in which direction."""
    points = rng.normal(size=(EXAMPLES, 3, 2))
    (a, b), (c, d) = (points[:, 1] - points[:, 0]).T, (points[:, 2] - points[:, 0]).T
    return points.reshape(EXAMPLES, 6), quantised(a * d - b * c, classes)


def brackets(rng: Generator, classes: int) -> Raw:
    """Letters in brackets; the class is how deep they are nested."""
    y, rows = drawn(rng, classes), np.arange(EXAMPLES)
    opening, closing = rng.permutation(ALPHABET)[:2]
    letters = rng.integers(ALPHABET, size=(EXAMPLES, LONGEST))
    letters = np.where(np.isin(letters, (opening, closing)), (letters + 2) % ALPHABET, letters)
    start, end = rng.integers(0, 3, EXAMPLES), LONGEST - 1 - rng.integers(0, 2, EXAMPLES)
    for depth in range(classes - 1):
        deep = rows[y > depth]
        letters[deep, start[deep] + depth] = opening
        letters[deep, end[deep] - depth] = closing
    return spelled(letters, np.full(EXAMPLES, LONGEST)), y


def roman(rng: Generator, classes: int) -> Raw:
    """Roman numerals; the class is how great their number is."""
    words = [(number, _numeral(number)) for number in range(1, 4000)]
    some = [words[i] for i in rng.permutation(len(words)) if len(words[i][1]) <= LONGEST][:EXAMPLES]
    numbers, texts = zip(*some, strict=True)
    return _typed(list(texts)), quantised(np.array(numbers), classes)


def _numeral(number: int) -> str:
    text = ""
    for value, letters in NUMERALS.items():
        text += letters * (number // value)
        number %= value
    return text


def keyboards(rng: Generator, classes: int) -> Raw:
    """Walks from key to neighbouring key; the class is the layout of the keyboard."""
    y, texts = drawn(rng, classes), []
    for layout in y:
        rows = KEYBOARDS[layout]
        row, column = int(rng.integers(3)), int(rng.integers(8))
        text = ""
        for down, across in rng.integers(-1, 2, (int(rng.integers(6, LONGEST + 1)), 2)):
            row, column = min(max(row + down, 0), 2), max(column + across, 0)
            column = min(column, len(rows[row]) - 1)
            text += rows[row][column]
        texts.append(text)
    return _typed(texts), y


def _typed(texts: list[str]) -> Array:
    """Token ids of lower-case words."""
    letters = np.array([[ord(letter) - ord("a") for letter in text.ljust(LONGEST, "a")] for text in texts])
    return spelled(letters, np.array([len(text) for text in texts]))


FOREIGN_KINDS = {
    "automata": Kind("cellular automata", IMAGE, automata, (8,)),
    "julia": Kind("Julia sets", IMAGE, julia, (6,)),
    "fractals": Kind("fractal textures", IMAGE, fractals, (4,)),
    "lissajous": Kind("Lissajous figures", IMAGE, lissajous, (6,)),
    "bridges": Kind("fractional Brownian bridges", SIGNAL, bridges, (4,)),
    "maps": Kind("chaotic maps", SIGNAL, maps, (5,)),
    "heartbeats": Kind("heartbeats", SIGNAL, heartbeats, (5,)),
    "spirals": Kind("arms of spirals", TABLE, spirals, (4,)),
    "poker": Kind("hands of poker", TABLE, poker, (4,)),
    "triangles": Kind("areas of triangles", TABLE, triangles, (4,)),
    "brackets": Kind("nested brackets", TEXT, brackets, (4,)),
    "roman": Kind("Roman numerals", TEXT, roman, (5,)),
    "keyboards": Kind("walks on keyboards", TEXT, keyboards, (4,)),
}

"""Kinds of signals of 64 numbers, each a generator of data sets."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from .kinds import EXAMPLES, SIGNAL, Array, Kind, Raw, drawn, noisy, quantised, teacher

TIME = np.linspace(0, 1, 64)


def tones(rng: Generator, classes: int) -> Raw:
    """Chords of two or three tones of any phase."""
    y, voices = drawn(rng, classes), rng.integers(2, 4)
    pitches = rng.uniform(1, 20, (classes, voices))[y] * rng.uniform(0.97, 1.03, (EXAMPLES, 1))
    loud = rng.uniform(0.5, 1.5, (EXAMPLES, voices, 1))
    phases = rng.uniform(0, 2 * np.pi, (EXAMPLES, voices, 1))
    x = (loud * np.sin(2 * np.pi * pitches[..., None] * TIME + phases)).sum(1)
    return noisy(rng, x, 0, 0.5), y


def autoregressive(rng: Generator, classes: int) -> Raw:
    """Autoregressive processes of second order, of a resonance each."""
    y = drawn(rng, classes)
    angle = (rng.permutation(classes) + rng.uniform(0.2, 0.8, classes)) * np.pi / classes
    radius = rng.uniform(0.8, 0.97, classes)
    a, b = (2 * radius * np.cos(angle))[y], -(radius**2)[y]
    x = rng.normal(size=(EXAMPLES, 96))
    for step in range(2, 96):
        x[:, step] += a * x[:, step - 1] + b * x[:, step - 2]
    x = x[:, 32:]
    return x / x.std(1, keepdims=True), y


def bumps(rng: Generator, classes: int) -> Raw:
    """Peaks and dips at places of the class, a little out of place."""
    y, count = drawn(rng, classes), rng.integers(2, 6)
    centres, widths = rng.uniform(0, 1, (classes, count)), rng.uniform(0.015, 0.08, (classes, count))
    heights = rng.choice([-1, 1], (classes, count)) * rng.uniform(0.5, 1.5, (classes, count))
    at = (
        centres[y]
        + rng.normal(scale=0.02, size=(EXAMPLES, count))
        + rng.normal(scale=0.03, size=(EXAMPLES, 1))
    )
    x = (heights[y][..., None] * np.exp(-(((TIME - at[..., None]) / widths[y][..., None]) ** 2) / 2)).sum(1)
    return noisy(rng, x, 0.1, 0.8), y


def walks(rng: Generator, classes: int) -> Raw:
    """Random walks; the class is their drift, where it breaks, or how rough they are."""
    steps = rng.normal(size=(EXAMPLES, 64))
    fact = rng.uniform(-1, 1, EXAMPLES)
    kind = rng.integers(3)
    if kind == 0:
        steps += 0.6 * fact[:, None]
    elif kind == 1:
        steps += np.where(fact[:, None] / 2 + 0.5 < TIME, 0.8, -0.8)
    else:
        steps = steps + 0.9 * fact[:, None] * np.roll(steps, 1, 1)
    x = steps.cumsum(1) if kind < 2 else steps
    return x / x.std(1, keepdims=True), quantised(fact, classes)


def envelopes(rng: Generator, classes: int) -> Raw:
    """Noise that swells and fades in the way of the class."""
    y = drawn(rng, classes)
    waves = rng.normal(size=(classes, 4))
    curves = np.exp(1.2 * waves @ np.cos(np.pi * np.outer(np.arange(1, 5), TIME)))
    x = rng.normal(size=(EXAMPLES, 64)) * (curves / curves.mean(1, keepdims=True))[y]
    return np.tanh(x / 2), y


def motifs(rng: Generator, classes: int) -> Raw:
    """A short motif of the class anywhere in noise."""
    y, length = drawn(rng, classes), int(rng.integers(8, 20))
    motif = rng.normal(size=(classes, length + 4)).cumsum(1)[:, 4:]
    motif = 2 * (motif - motif.mean(1, keepdims=True)) / motif.std(1, keepdims=True)
    x = rng.uniform(0.2, 0.7) * rng.normal(size=(EXAMPLES, 64))
    reach = rng.integers(4, 64 - length + 1)
    place = rng.integers(reach, size=(EXAMPLES, 1)) + np.arange(length)
    x[np.arange(EXAMPLES)[:, None], place] += motif[y]
    return x, y


def spikes(rng: Generator, classes: int) -> Raw:
    """Trains of spikes; the class is their rhythm."""
    y = drawn(rng, classes)
    period = np.linspace(4, 16, classes)[rng.permutation(classes)][y] + rng.uniform(-0.3, 0.3, EXAMPLES)
    phase = (np.arange(64) + rng.uniform(0, 16, (EXAMPLES, 1))) % period[:, None]
    return noisy(rng, np.exp(-phase / rng.uniform(0.4, 1.5)), 0, 0.5), y


def curves(rng: Generator, classes: int) -> Raw:
    """Smooth curves, labelled by a random network on their waves."""
    waves = rng.integers(4, 10)
    amounts = rng.normal(size=(EXAMPLES, waves)) / np.sqrt(np.arange(1, waves + 1))
    x = amounts @ np.cos(np.pi * np.outer(np.arange(1, waves + 1), TIME))
    return noisy(rng, x, 0, 0.3), teacher(rng, amounts / amounts.std(0), classes)


def levels(rng: Generator, classes: int) -> Raw:
    """Steps between a few levels, in an order of the class."""
    y, parts = drawn(rng, classes), rng.integers(4, 9)
    heights = rng.normal(size=(classes, parts))
    stretch: Array = np.clip(TIME + rng.normal(scale=0.04, size=(EXAMPLES, 1)), 0, 0.999)
    return noisy(rng, heights[y[:, None], (stretch * parts).astype(int)], 0.2, 1), y


SIGNALS = {
    "tones": Kind("chords", SIGNAL, tones),
    "autoregressive": Kind("autoregressive processes", SIGNAL, autoregressive, (2, 3, 4, 5, 6)),
    "bumps": Kind("peaks and dips", SIGNAL, bumps),
    "walks": Kind("random walks", SIGNAL, walks, (2, 3, 4, 5)),
    "envelopes": Kind("swelling noise", SIGNAL, envelopes, (2, 3, 4, 5)),
    "motifs": Kind("hidden motifs", SIGNAL, motifs),
    "spikes": Kind("spike trains", SIGNAL, spikes, (2, 3, 4, 5, 6)),
    "curves": Kind("smooth curves, labelled by a network", SIGNAL, curves, (2, 3, 4, 5, 6)),
    "levels": Kind("steps between levels", SIGNAL, levels),
}

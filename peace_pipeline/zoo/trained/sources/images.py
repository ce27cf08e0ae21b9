"""Kinds of 8×8 images, each a generator of data sets."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.random import Generator

from .kinds import EXAMPLES, IMAGE, Array, Kind, Raw, balanced, drawn, noisy, quantised, teacher

U, V = (part.ravel() for part in np.meshgrid(np.linspace(-1, 1, 8), np.linspace(-1, 1, 8)))
"""Coordinates of the 64 pixels."""


def moved(rng: Generator, shift: float, turn: float, stretch: float) -> tuple[Array, Array]:
    """The pixels' coordinates (examples, 64) as each example sees them: shifted, turned and stretched."""
    angle, scale = (
        rng.uniform(-turn, turn, (EXAMPLES, 1)),
        np.exp(rng.uniform(-stretch, stretch, (EXAMPLES, 1))),
    )
    u, v = U + rng.uniform(-shift, shift, (EXAMPLES, 1)), V + rng.uniform(-shift, shift, (EXAMPLES, 1))
    return scale * (u * np.cos(angle) - v * np.sin(angle)), scale * (u * np.sin(angle) + v * np.cos(angle))


def soft(distance: Array, width: float = 0.15) -> Array:
    """1 inside, 0 outside, with a soft edge: of signed distances."""
    return 1 / (1 + np.exp(np.clip(distance / width * 2, -30, 30)))


def strokes(rng: Generator, classes: int) -> Raw:
    """Polylines of random corners."""
    y = drawn(rng, classes)
    corners = rng.uniform(-0.8, 0.8, (classes, rng.integers(3, 6), 2))
    u, v = moved(rng, 0.25, 0.3, 0.2)
    path = corners[y] + rng.normal(scale=0.06, size=(EXAMPLES, *corners.shape[1:]))
    nearest = np.full(u.shape, 9.0)
    for start, end in zip(path[:, :-1].swapaxes(0, 1), path[:, 1:].swapaxes(0, 1), strict=True):
        (du, dv), (su, sv) = (end - start).T[..., None], start.T[..., None]
        place = np.clip(((u - su) * du + (v - sv) * dv) / (du**2 + dv**2 + 1e-9), 0, 1)
        nearest = np.minimum(nearest, np.hypot(u - su - place * du, v - sv - place * dv))
    return noisy(rng, soft(nearest - 0.15), 0, 0.5), y


def blobs(rng: Generator, classes: int) -> Raw:
    """Constellations of bright and dark blobs."""
    y, count = drawn(rng, classes), rng.integers(2, 6)
    places, signs = rng.uniform(-0.9, 0.9, (classes, count, 2)), rng.choice([-1, 1, 1], (classes, count))
    widths = rng.uniform(0.15, 0.5, (classes, count))
    u, v = moved(rng, 0.2, 0.2, 0.1)
    at = places[y] + rng.normal(scale=0.1, size=(EXAMPLES, count, 2))
    far = (u[:, None] - at[..., :1]) ** 2 + (v[:, None] - at[..., 1:]) ** 2
    x = (signs[y][..., None] * np.exp(-far / (2 * widths[y][..., None] ** 2))).sum(1)
    return noisy(rng, x, 0.1, 0.8), y


def outlines(rng: Generator, classes: int) -> Raw:
    """Filled star-like shapes, whose radius is a random function of the angle."""
    y = drawn(rng, classes)
    waves, phases = rng.normal(scale=0.18, size=(classes, 4)), rng.uniform(0, 2 * np.pi, (classes, 4))
    u, v = moved(rng, 0.25, 0.25, 0.25)
    angle = np.arctan2(v, u)[:, None] * np.arange(1, 5)[:, None]
    radius = 0.6 + (waves[y][..., None] * np.cos(angle + phases[y][..., None])).sum(1)
    return noisy(rng, soft(np.hypot(u, v) - radius), 0, 0.5), y


def gratings(rng: Generator, classes: int) -> Raw:
    """Plane waves of any phase; the class is the direction or the frequency."""
    y, by_direction = drawn(rng, classes), rng.random() < 0.6
    direction = (y + rng.uniform(-0.2, 0.2, EXAMPLES)) * np.pi / classes + rng.uniform(0, np.pi)
    frequency = rng.uniform(3, 7, EXAMPLES)
    if not by_direction:
        direction, frequency = (
            rng.uniform(0, np.pi, EXAMPLES),
            1.5 + (y + rng.random(EXAMPLES) * 0.5) * 9 / classes,
        )
    wave = np.cos(direction)[:, None] * U + np.sin(direction)[:, None] * V
    x = np.cos(frequency[:, None] * wave + rng.uniform(0, 2 * np.pi, (EXAMPLES, 1)))
    return noisy(rng, x, 0.1, 0.6), y


def textures(rng: Generator, classes: int) -> Raw:
    """Noise filtered by a kernel of the class."""
    y = drawn(rng, classes)
    spectrum = np.abs(np.fft.fft2(rng.normal(size=(classes, 3, 3)), (8, 8))) ** 2
    white = np.fft.fft2(rng.normal(size=(EXAMPLES, 8, 8)))
    x = np.fft.ifft2(white * spectrum[y]).real.reshape(EXAMPLES, 64)
    return x / x.std(1, keepdims=True), y


def shapes(rng: Generator, classes: int) -> Raw:
    """Disc, ring, square, frame, cross, saltire, triangle, two bars and a diamond, of any place and size."""
    y = drawn(rng, classes)
    kinds = rng.permutation(10)[:classes][y]
    u, v = moved(rng, 0.35, 0.1, 0.2)
    u, v = u / 0.65, v / 0.65
    disc, square, diamond = np.hypot(u, v) - 1, np.maximum(abs(u), abs(v)) - 1, abs(u) + abs(v) - 1.2
    thin = 0.25
    cross = np.maximum(np.minimum(abs(u), abs(v)) - thin, square)
    saltire = np.maximum(np.minimum(abs(u - v), abs(u + v)) / 1.4 - thin, square)
    triangle = np.maximum(v - 0.8, abs(u) * 1.6 - (v + 1))
    bars = [np.maximum(abs(a) - thin, abs(b) - 1.1) for a, b in ((u, v), (v, u))]
    frames = [abs(disc + 0.25) - thin, abs(square + 0.25) - thin]
    signed = np.stack([disc, square, diamond, cross, saltire, triangle, *bars, *frames])
    return noisy(rng, soft(signed[kinds, np.arange(EXAMPLES)], 0.25), 0, 0.5), y


def counts(rng: Generator, classes: int) -> Raw:
    """As many spots as the class says, and one."""
    y = drawn(rng, classes)
    grid = rng.random((EXAMPLES, 16)).argsort(1)[:, :classes]
    places = (
        np.stack([grid % 4, grid // 4], -1) / 1.7 - 0.88 + rng.uniform(-0.12, 0.12, (EXAMPLES, classes, 2))
    )
    shown = np.arange(classes) <= y[:, None]
    far = (U - places[..., :1]) ** 2 + (V - places[..., 1:]) ** 2
    x = (shown[..., None] * np.exp(-far / (2 * 0.16**2))).sum(1)
    return noisy(rng, x, 0, 0.3), y


@cache
def _photos() -> Array:
    from sklearn.datasets import load_sample_images

    return np.stack(load_sample_images().images).astype(np.float32) / 255


def photos(rng: Generator, classes: int) -> Raw:
    """Patches of scikit-learn's two photographs; the class is their place, tint, brightness or roughness."""
    images, zoom = _photos(), rng.choice([1, 2, 4])
    _, height, width, _ = images.shape
    which = rng.integers(2, size=EXAMPLES)
    top, left = rng.integers(height - 8 * zoom, size=EXAMPLES), rng.integers(width - 8 * zoom, size=EXAMPLES)
    steps = np.arange(8) * zoom
    colour = images[which[:, None, None], top[:, None, None] + steps[:, None], left[:, None, None] + steps]
    x = colour @ rng.dirichlet([1, 1, 1])
    tint = colour[..., 0].mean((1, 2)) - colour[..., 2].mean((1, 2))
    facts = [
        top + height * which,
        left + width * which,
        tint,
        x.mean((1, 2)),
        x.std((1, 2)),
        x[:, :4].mean((1, 2)) - x[:, 4:].mean((1, 2)),
    ]
    return x.reshape(EXAMPLES, 64), quantised(facts[rng.integers(len(facts))], classes)


def places(rng: Generator, classes: int) -> Raw:
    """One small object among clutter; the class is where it lies, along a direction or around the middle."""
    at = rng.uniform(-0.9, 0.9, (EXAMPLES, 2))
    direction = rng.uniform(0, 2 * np.pi)
    along = at @ [np.cos(direction), np.sin(direction)]
    facts = [along, (np.arctan2(*at.T) + direction) % (2 * np.pi), np.hypot(*at.T)]
    u, v, width = U - at[:, :1], V - at[:, 1:], rng.uniform(0.2, 0.4)
    object_ = np.exp(-(u**2 + v**2) / (2 * width**2)) * np.cos(rng.uniform(0, 5) * u + rng.uniform(0, 5) * v)
    return noisy(rng, object_, 0.1, 0.8), quantised(facts[rng.integers(3)], classes)


def fields(rng: Generator, classes: int) -> Raw:
    """Smooth random fields, labelled by a random network on their waves."""
    waves = rng.uniform(-3, 3, (rng.integers(6, 16), 2))
    amounts, phase = rng.normal(size=(EXAMPLES, len(waves))), rng.uniform(0, 2 * np.pi, (len(waves), 1))
    x = amounts @ np.cos(waves[:, :1] * U + waves[:, 1:] * V + phase)
    return noisy(rng, x, 0, 0.2), teacher(rng, x / x.std(), classes)


def detectors(rng: Generator, classes: int) -> Raw:
    """Smooth noise, labelled by which of some random 3×3 filters finds most."""
    white = np.fft.fft2(rng.normal(size=(EXAMPLES, 8, 8)))
    x = np.fft.ifft2(
        white * np.exp(-np.add.outer(np.fft.fftfreq(8) ** 2, np.fft.fftfreq(8) ** 2) * rng.uniform(2, 12))
    ).real
    x = x / x.std()
    filters = rng.normal(size=(classes, 3, 3))
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (1, 2))
    found = np.maximum(np.einsum("nijab,cab->nijc", windows, filters), 0)
    half = rng.integers(2)  # which half of the image they look at
    seen = found[:, 3 * half : 3 * half + 3]
    return x.reshape(EXAMPLES, 64), balanced((seen**2).mean((1, 2)))


def symmetries(rng: Generator, classes: int) -> Raw:
    """Random tiles made symmetrical in a way of the class."""
    x = rng.normal(size=(EXAMPLES, 8, 8)).cumsum(1).cumsum(2)
    x = x - x.mean((1, 2), keepdims=True)
    ways = [
        x,
        x + x[:, ::-1],
        x + x[:, :, ::-1],
        x + x[:, ::-1, ::-1],
        x + x.swapaxes(1, 2),
        x - x[:, ::-1],
        x - x[:, :, ::-1],
    ]
    y = drawn(rng, classes)
    x = np.stack(ways)[rng.permutation(len(ways))[:classes][y], np.arange(EXAMPLES)].reshape(EXAMPLES, 64)
    return noisy(rng, x / x.std(1, keepdims=True), 0, 0.2), y


def codes(rng: Generator, classes: int) -> Raw:
    """Random black and white tiles, of which some are flipped."""
    y, side = drawn(rng, classes), rng.choice([2, 4, 8])
    flips = rng.random((EXAMPLES, side, side)) < rng.uniform(0.05, 0.25)
    tiles = rng.integers(2, size=(classes, side, side))[y] ^ flips
    x = tiles.repeat(8 // side, 1).repeat(8 // side, 2).reshape(EXAMPLES, 64)
    return noisy(rng, x.astype(float), 0, 0.4), y


def shadings(rng: Generator, classes: int) -> Raw:
    """Slopes and bowls of light under noise, of a class each."""
    y = drawn(rng, classes)
    basis = np.stack([U, V, U * V, U**2 - 1 / 3, V**2 - 1 / 3])
    amounts = rng.normal(size=(classes, len(basis)))[y] + rng.normal(scale=0.35, size=(EXAMPLES, len(basis)))
    return noisy(rng, amounts @ basis, 0.2, 1), y


IMAGES = {
    "strokes": Kind("random strokes", IMAGE, strokes),
    "blobs": Kind("constellations of blobs", IMAGE, blobs),
    "outlines": Kind("random outlines", IMAGE, outlines),
    "gratings": Kind("gratings", IMAGE, gratings),
    "textures": Kind("random textures", IMAGE, textures, (2, 3, 4, 5)),
    "shapes": Kind("plain shapes", IMAGE, shapes),
    "counts": Kind("counted spots", IMAGE, counts, (2, 3, 4, 5, 6)),
    "photos": Kind("patches of photographs (scikit-learn)", IMAGE, photos, (2, 3, 4, 5, 6)),
    "places": Kind("places of an object", IMAGE, places),
    "fields": Kind("smooth fields, labelled by a network", IMAGE, fields, (2, 3, 4, 5, 6, 8)),
    "detectors": Kind("smooth noise, labelled by filters", IMAGE, detectors, (2, 3, 4, 5)),
    "symmetries": Kind("symmetries", IMAGE, symmetries, (2, 3, 4, 5, 6)),
    "codes": Kind("flipped tiles", IMAGE, codes),
    "shadings": Kind("shadings", IMAGE, shadings),
}

"""Finding the networks that score highest where a score is dear: what is near in the index scores alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

SPREAD, NOISE, CURIOSITY = 1.0, 0.1, 3.0
"""How alike networks score whose vectors, less the mean, have a cosine of 0 (e to the power of -1/SPREAD), how much of
the variance of scores vectors don't tell, and how many deviations better than expected what is not known may be:
settled on other target tasks and candidates than those of the transfer report."""
TRIES = 32
"""Networks that are asked, unless said otherwise."""
MISSES = 3
"""How many times as many are asked as are wanted, where some have no score."""


def explore(
    vectors: NDArray[np.float32],
    score: Callable[[int], float | None],
    wanted: int,
    first: Sequence[int] = (),
) -> dict[int, float | None]:
    """Ask the scores of rows of ``vectors`` (networks, dimension; of unit norm) one after the other until ``wanted``
    are known: place → score, ``None`` where there is none.

    Those that are named ``first`` come first, else the most central one; then always the one whose score may be
    highest: the mean and ``CURIOSITY`` deviations of a Gaussian process over what is known (the upper confidence bound
    of Srinivas et al. 2010, arXiv:0912.3995). One without a score counts as far below the worst as the best is above
    it, so that others like it are left for later.
    """
    if not len(vectors):
        return {}
    rows = vectors - vectors.mean(0)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-12)
    found: dict[int, float | None] = {}
    known: list[float] = []
    waiting = [*first] or [int((vectors @ vectors.sum(0)).argmax())]
    while len(known) < wanted and len(found) < min(len(vectors), MISSES * wanted):
        missed = 2 * min(known) - max(known) if len(set(known)) > 1 else min(known, default=0.0) - 1
        told = {place: missed if value is None else value for place, value in found.items()}
        place = waiting.pop(0) if waiting else _next(rows, told)
        found[place] = value = score(place)
        if value is not None:
            known.append(value)
    return found


def _next(rows: NDArray[np.float32], found: dict[int, float]) -> int:
    """The place whose score may be highest."""
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF

    kernel = RBF(np.sqrt(SPREAD), "fixed")  # of unit vectors: exp((cosine - 1) / SPREAD)
    process = GaussianProcessRegressor(kernel, alpha=NOISE, optimizer=None, normalize_y=True)
    places = list(found)
    process.fit(rows[places], list(found.values()))
    mean, deviation = process.predict(rows, return_std=True)
    best = mean + CURIOSITY * deviation
    best[places] = -np.inf
    return int(best.argmax())

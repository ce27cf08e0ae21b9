"""Made-up rows: like the real ones, and what is nearest among them."""

from __future__ import annotations

import numpy as np

from peace_pipeline.evaluation.scalability.indexing import Crowd, K, _Nearest


def test_made_up_vectors_are_as_far_apart_as_real_ones() -> None:
    generator = np.random.default_rng(0)
    real = generator.standard_normal((50, 64)).astype(np.float32)
    real /= np.linalg.norm(real, axis=1, keepdims=True)
    crowd = Crowd.of(real)
    drawn = crowd.draw(500, generator)
    np.testing.assert_allclose(np.linalg.norm(drawn, axis=1), 1, atol=1e-5)
    cosine = real @ real.T
    np.fill_diagonal(cosine, -1)
    apart = np.median(np.sqrt(2 - 2 * cosine.max(1)))
    assert abs(crowd.step / apart - 1) < 0.05


def test_the_nearest_of_blocks_are_those_of_all() -> None:
    generator = np.random.default_rng(1)
    rows, queries = (generator.standard_normal((count, 8)).astype(np.float32) for count in (300, 5))
    nearest = _Nearest(queries)
    for start in range(0, 300, 70):
        nearest.see(rows[start : start + 70])
    expected = -np.sort(-(queries @ rows.T), axis=1)[:, :K]
    np.testing.assert_allclose(nearest.cosine, expected, rtol=1e-5)

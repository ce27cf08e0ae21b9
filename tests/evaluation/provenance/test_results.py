"""The threshold that parts two samples."""

from __future__ import annotations

import pytest

from peace_pipeline.evaluation.provenance.results import cut


def test_the_cut_between_two_samples() -> None:
    assert cut([0, 1, 2], [8, 9]) == 5
    low, high = [i / 100 for i in range(100)], [i / 100 + 0.5 for i in range(100)]
    assert 0.4 < cut(low, high) < 1.1
    assert cut([0.1, 0.2, 0.9], [0.8, 0.7, 1.0]) == pytest.approx(0.45)

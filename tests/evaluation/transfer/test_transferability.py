"""LEEP against another way to compute it."""

from __future__ import annotations

import numpy as np
import pytest

from peace_pipeline.evaluation.transfer.transferability import leep


def test_leep_by_hand() -> None:
    sure = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    unsure = np.full((4, 2), 0.5)
    crossed = np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0], [0.0, 1.0]])
    found = leep(np.stack([sure, unsure, crossed]), np.array([0, 0, 1, 1]))
    one_third = (np.log(1) + np.log(1 / 3) + 2 * np.log(2 / 3)) / 4
    assert found == pytest.approx([0, np.log(0.5), one_third], abs=1e-9)

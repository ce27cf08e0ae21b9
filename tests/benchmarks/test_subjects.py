"""The plain modules that claims are tried on: each runs, and computes the same when it was saved and loaded."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from benchmarks.subjects import PLAIN


@pytest.mark.parametrize("name", PLAIN)
def test_plain_modules_run_and_are_saved_whole(name: str, tmp_path: Path) -> None:
    subject = PLAIN[name]
    module = subject.build()
    loaded = subject.load(subject.save(module, tmp_path))
    for inputs in subject.inputs(module):
        first, second = subject.run(module, inputs), subject.run(loaded, inputs)
        assert all(torch.equal(x, y) and x.isfinite().all() for x, y in zip(first, second, strict=True))
        assert any(float(x.std(0).max()) > 1e-3 for x in first), "the inputs are seen"

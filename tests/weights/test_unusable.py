"""Whatever is wrong with one model is said in one way; what is not the model's fault stays what it is."""

from __future__ import annotations

import errno

import pytest
import torch

from peace_pipeline.weights.errors import CorruptFile
from peace_pipeline.weights.unusable import UnusableModel, model_errors
from peace_pipeline.zoo.source import FetchError, SourceUnavailable


@pytest.mark.parametrize(
    ("error", "reason", "passing"),
    [
        (CorruptFile("no  file\nof tensors"), "no file of tensors", False),
        (FetchError("gone", passing=False), "gone", False),
        (FetchError("busy", passing=True), "busy", True),
        (SourceUnavailable("down"), "down", True),
        (MemoryError(), "does not fit in memory", False),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "does not fit in memory", False),
        (ValueError("running variance is negative"), "running variance is negative", False),
        (ValueError(), "ValueError", False),
    ],
)
def test_what_is_wrong_with_a_model(error: Exception, reason: str, passing: bool) -> None:
    with pytest.raises(UnusableModel) as caught, model_errors():
        raise error
    assert (str(caught.value), caught.value.passing) == (reason, passing)


def test_linear_algebra_that_fails() -> None:
    with pytest.raises(UnusableModel, match=r"^linear algebra fails on its weights \(linalg.inv\)$"):  # noqa: SIM117
        with model_errors():
            torch.linalg.inv(torch.zeros(2, 2))


def test_a_reason_is_of_bounded_length() -> None:
    with pytest.raises(UnusableModel) as caught, model_errors():
        raise ValueError("x" * 10_000)
    assert len(str(caught.value)) == 500


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("a bug"), KeyboardInterrupt()]
)
def test_other_errors_stay_what_they_are(error: BaseException) -> None:
    with pytest.raises(type(error)), model_errors():
        raise error

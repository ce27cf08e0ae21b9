"""What can be wrong with one model: it makes one ``skipped`` record, and stops no batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from peace_pipeline.weights.errors import UnreadableCheckpoint, memory_errors
from peace_pipeline.zoo.source import FetchError, SourceUnavailable

_LONGEST_REASON = 500
_OF_LINEAR_ALGEBRA = "_LinAlgError"
"""The name of torch.linalg's: torch takes seconds to import, and a pass that finds nothing new needs none."""


class UnusableModel(Exception):
    """A model that PEACE can do nothing with, with the reason; ``passing`` where a later try may succeed."""

    def __init__(self, reason: str, *, passing: bool = False) -> None:
        super().__init__(" ".join(reason.split())[:_LONGEST_REASON])
        self.passing = passing


@contextmanager
def model_errors() -> Iterator[None]:
    """Makes an :class:`UnusableModel` of whatever can be wrong with one model: it can't be had or read, doesn't fit in
    memory, or linear algebra fails on its weights. Other errors (a full disk) are not the model's and stay what they
    are."""
    try:
        with memory_errors():
            yield
    except (FetchError, SourceUnavailable) as error:
        raise UnusableModel(str(error), passing=getattr(error, "passing", True)) from error
    except MemoryError as error:
        raise UnusableModel("does not fit in memory") from error
    except RuntimeError as error:
        if type(error).__name__ != _OF_LINEAR_ALGEBRA:
            raise
        which = str(error).partition(":")[0]
        raise UnusableModel(f"linear algebra fails on its weights ({which})") from error
    except (UnreadableCheckpoint, ValueError) as error:
        raise UnusableModel(str(error).strip() or type(error).__name__) from error

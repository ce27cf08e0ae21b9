"""An interrupt ends a run; Dagster alone would take it for a failure and try the step again."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg


@contextmanager
def interruptible() -> Iterator[None]:
    """Let an interrupt inside the block fail the step for good."""
    try:
        yield
    except (KeyboardInterrupt, dg.DagsterExecutionInterruptedError) as error:
        raise dg.Failure("interrupted", allow_retries=False) from error

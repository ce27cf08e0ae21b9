"""What ends a run: an interrupt, and a disk that refuses; Dagster alone would try the step again."""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg


@contextmanager
def unretried() -> Iterator[None]:
    """Let an interrupt inside the block, or a disk that is full or read-only, fail the step for good."""
    from peace_pipeline.lake.refusals import refusal

    try:
        yield
    except (KeyboardInterrupt, dg.DagsterExecutionInterruptedError) as error:
        raise dg.Failure("interrupted", allow_retries=False) from error
    except Exception as error:
        if refused := refusal(error):
            raise dg.Failure(refused, allow_retries=False) from error
        raise

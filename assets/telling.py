"""How far a step is: in the log of its run, and to the command line that listens."""

import dagster as dg

from peace_pipeline.progress import Progress, in_lines, track


def telling(context: dg.AssetExecutionContext, words: str) -> Progress:
    """A callback for the work that ``words`` name."""
    heard, logged = track(words), in_lines(words, context.log.info)

    def tell(done: int, total: int, note: str = "") -> None:
        logged(done, total, note)
        if heard:
            heard(done, total, note)

    return tell

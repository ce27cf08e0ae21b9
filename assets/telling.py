"""How far a step is: to the command line that listens, else to the log of its run."""

import dagster as dg

from peace_pipeline.progress import Progress, in_lines, track


def telling(context: dg.AssetExecutionContext, words: str) -> Progress:
    """A callback for the work that ``words`` name."""
    return track(words) or in_lines(words, context.log.info)

"""Kills the pipeline at any step while requests fail and the Hub changes, and counts what is lost or doubled.

    python benchmarks/faults.py [--runs 200] [--seed 0] [--jobs 2]

Each run has a Hub of 15 to 40 small models and an empty lake. Processes that crawl, read, embed and index are
killed with SIGKILL before a request, a rename or an index commit, or at any moment. Then one pass runs in peace,
another must find nothing to do, and the lake and the index are compared with the Hub.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.zoo.hub.faults import Outcome, Run

KINDS = ("lost", "doubled", "stale", "broken")


def main() -> None:
    """Print what happened; exit with 1 where anything was lost, doubled, stale or broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="seed of the first run")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    arguments = parser.parse_args()
    console = Console()
    started = time.perf_counter()
    seeds = range(arguments.seed, arguments.seed + arguments.runs)
    outcomes = dict(track(_outcomes(seeds, arguments.jobs), "Killing", len(seeds), console=console))
    console.print(summary(list(outcomes.values())))
    console.print(f"{len(outcomes)} runs in {time.perf_counter() - started:.0f} s")
    for seed, outcome in outcomes.items():
        for kind in KINDS:
            for violation in getattr(outcome.violations, kind):
                console.print(f"seed {seed}: {kind}: {violation}")
    raise SystemExit(any(outcome.violations for outcome in outcomes.values()))


def _outcomes(seeds: range, jobs: int) -> Iterator[tuple[int, Outcome]]:
    """Runs at a time in processes of their own: in threads of one, the exit status of a child can get lost."""
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        yield from zip(seeds, pool.map(one, seeds), strict=True)


def one(seed: int) -> Outcome:
    """One run in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        return Run(Path(folder), seed, models=15 + seed % 26).run()


def summary(outcomes: list[Outcome]) -> Table:
    """What was done to the pipeline, and what came of it."""
    faults, changes, kills = (
        total(getattr(outcome, name) for outcome in outcomes) for name in ("faults", "changes", "kills")
    )
    table = Table("what", "count", "of which")
    table.add_row("runs", str(len(outcomes)))
    table.add_row("faults injected", str(faults.total()), listed(faults))
    table.add_row("processes killed", str(kills.total()), listed(kills))
    table.add_row("changes of the Hub", str(changes.total()), listed(changes))
    table.add_row("crawls broken off", str(sum(outcome.unavailable for outcome in outcomes)))
    table.add_row("models checked", str(sum(outcome.models for outcome in outcomes)))
    table.add_row("of which in the index", str(sum(outcome.indexed for outcome in outcomes)))
    wrong = sum(outcome.twice_wrong for outcome in outcomes)
    table.add_row("with a wrong hash twice, had later", str(wrong))
    for kind in KINDS:
        table.add_row(kind, str(sum(len(getattr(outcome.violations, kind)) for outcome in outcomes)))
    return table


def total(counts: Iterable[Counter[str]]) -> Counter[str]:
    """All counts together."""
    return sum(counts, Counter[str]())


def listed(counts: Counter[str]) -> str:
    """Names and counts, the most frequent first."""
    return ", ".join(f"{name} {count}" for name, count in counts.most_common())


if __name__ == "__main__":
    main()

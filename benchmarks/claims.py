"""Whether what PEACE claims of networks is true: each is transformed by every symmetry that is claimed, and run again.

    python benchmarks/claims.py [--only PATTERN] [--workers 1] [--page docs/claims.md]

Tries some 140 plain torch modules, as checkpoints and followed by `trace`, and every model class of the installed
transformers that can be built small, with random weights in float64 and several kinds of inputs. A claim is right where
outputs move by at most 1e-5 of their largest value. With ``--page`` the outcomes are written as a page; exits 1 where a
claim that isn't assumed is wrong, or `peace compare` calls two functions equivalent that aren't. An interrupt ends the
sweep early: what was tried by then counts.
"""

from __future__ import annotations

import argparse
import re
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from queue import SimpleQueue

from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from subjects.judging import EQUIVALENT, REFUSED, RIGHT, UNTRIED, VERDICTS, WRONG, Outcome
from subjects.page import page
from subjects.worker import Worker, names

SECONDS = 60
"""How long a subject may take, of the processor's time."""


def main() -> None:
    """Sweep, print the counts, write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", metavar="PATTERN", help="subjects whose name has this pattern")
    parser.add_argument("--page", type=Path, help="where the outcomes are written as Markdown")
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, help="of the processor's time, for a subject"
    )
    parser.add_argument("--workers", type=int, default=1, help="processes that try subjects")
    arguments = parser.parse_args()
    wanted = [name for name in names() if re.search(arguments.only, name)]
    outcomes: list[Outcome] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    console = Console(stderr=True)
    with tried(wanted, arguments.workers, arguments.seconds) as coming, Progress(console=console) as bar:
        task = bar.add_task("trying", total=len(wanted))
        with suppress(KeyboardInterrupt):
            for outcome in coming:
                outcomes.append(outcome)
                bar.update(task, advance=1, description=outcome.name)
                if outcome.verdict not in (RIGHT, REFUSED) or outcome.missed:
                    console.print(line(outcome), highlight=False, soft_wrap=True, markup=False)
    show(outcomes)
    if arguments.page:
        arguments.page.write_text(page(outcomes, len(wanted) - len(outcomes)))
    wrong = [each for each in outcomes if each.verdict == WRONG or each.false_equivalence]
    sys.exit(bool(wrong))


@contextmanager
def tried(names: list[str], workers: int, seconds: float) -> Iterator[Iterator[Outcome]]:
    """What comes of each subject, in order, tried by so many processes."""
    free: SimpleQueue[Worker] = SimpleQueue()
    with ExitStack() as stack:
        for _ in range(workers):
            free.put(stack.enter_context(Worker(seconds)))
        pool = ThreadPoolExecutor(workers)
        stack.callback(pool.shutdown, wait=False, cancel_futures=True)

        def outcome(name: str) -> Outcome:
            worker = free.get()
            try:
                return worker.outcome(name)
            finally:
                free.put(worker)

        yield pool.map(outcome, names)


def line(outcome: Outcome) -> str:
    """An outcome in one line."""
    far = "" if outcome.moved is None else f" moved {outcome.moved:.1e}"
    compared = f" compared: {outcome.compared}" if outcome.compared else ""
    return f"{outcome.name}: {outcome.verdict} ({outcome.wiring}){far}{compared} {outcome.reason}"


def show(outcomes: list[Outcome]) -> None:
    """Print how many came out how."""
    table = Table("", *VERDICTS, f"right but not “{EQUIVALENT}”")
    for group in dict.fromkeys(each.group for each in outcomes):
        own = [each for each in outcomes if each.group == group]
        counts = Counter(each.verdict for each in own)
        table.add_row(group, *(str(counts[verdict]) for verdict in VERDICTS), str(sum(e.missed for e in own)))
    console = Console(width=140)
    console.print(table)
    tried = sum(each.verdict != UNTRIED for each in outcomes)
    console.print(f"{tried} of {len(outcomes)} tried.")


if __name__ == "__main__":
    main()

"""Interrupts `peace run` at random moments and counts how it ends.

    python benchmarks/interrupts.py [--times 40] [--signal INT] [--twice] [--seed 0] [--peace PATH]

Every run begins with an empty lake: half of them crawl, train on and index a folder of small networks, half train the
built-in zoo in worker processes. Each has a process group of its own, which gets the signal as a terminal would give
it, at a moment drawn from the time that the run before it took. Two of ten interrupted runs are run again to its end.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.pipeline import PEACE, environment, write_networks

ZOOS = {"directory": 'path = "zoo"', "trained": 'recipe = "demo"\nnetworks = 38'}
LINES = {signal.SIGINT: "peace: interrupted", signal.SIGTERM: "peace: terminated"}
HELD = 0.3
"""Seconds between the first and the second signal."""


@dataclass
class Outcomes:
    """What the interrupted runs of a zoo did, by name, and the longest time from signal to end."""

    counts: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    examples: dict[str, str] = field(default_factory=dict)


def main() -> None:
    """Print a table of outcomes; exit with 1 where one isn't what is promised."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--times", type=int, default=40)
    parser.add_argument("--signal", choices=("INT", "TERM"), default="INT")
    parser.add_argument("--twice", action="store_true", help="a second one right after the first")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--peace", default=str(PEACE))
    parser.add_argument("--earliest", type=float, default=0.3, help="seconds; Python itself starts before")
    options = parser.parse_args()
    rng, number = random.Random(options.seed), signal.Signals[f"SIG{options.signal}"]
    outcomes = {zoo: Outcomes() for zoo in ZOOS}
    with tempfile.TemporaryDirectory() as folder:
        write_networks(Path(folder) / "zoo", 0, 66)
        lasts = {zoo: _whole_run(options.peace, Path(folder), zoo) for zoo in ZOOS}
        print("uninterrupted:", {zoo: round(seconds, 1) for zoo, seconds in lasts.items()}, flush=True)
        for turn in range(options.times):
            zoo = list(ZOOS)[turn % len(ZOOS)]
            moment = rng.uniform(options.earliest, lasts[zoo])
            home = Path(folder) / f"{zoo}-{turn}"
            outcome, seconds, err = _interrupted(options.peace, home, zoo, moment, number, options.twice)
            if turn % 10 < 2 and outcome == "as promised" and _process(options.peace, home, zoo).wait():
                outcome = "the next run failed"
            found = outcomes[zoo]
            found.counts[outcome] += 1
            found.slowest = max(found.slowest, seconds)
            found.examples.setdefault(outcome, err)
            print(f"{turn} {zoo} at {moment:.1f} s: {outcome} after {seconds:.1f} s", flush=True)
    names = sorted({name for found in outcomes.values() for name in found.counts})
    table = Table("zoo", *names, "slowest s")
    for zoo, found in outcomes.items():
        table.add_row(zoo, *(str(found.counts[name]) for name in names), f"{found.slowest:.1f}")
    Console().print(table)
    for found in outcomes.values():
        for name, err in found.examples.items():
            if name != "as promised":
                print(f"--- {name}\n{err[-1500:]}")
    sys.exit(names not in ([], ["as promised"], ["as promised", "over before"]))


def _answer(home: Path) -> Path:
    return home.with_suffix(".json")


def _process(peace: str, home: Path, zoo: str) -> subprocess.Popen[str]:
    home.mkdir(exist_ok=True)
    config = home.parent / f"{zoo}.toml"
    config.write_text(f'[[source]]\nkind = "{zoo}"\n{ZOOS[zoo]}\n')
    return subprocess.Popen(
        [peace, "run", "--json", "--config", str(config), "--home", str(home)],
        stdout=_answer(home).open("w"),
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        start_new_session=True,
    )


def _whole_run(peace: str, folder: Path, zoo: str) -> float:
    started = time.monotonic()
    process = _process(peace, folder / f"{zoo}-whole", zoo)
    _, err = process.communicate()
    assert process.returncode == 0, err
    return time.monotonic() - started


def _interrupted(
    peace: str, home: Path, zoo: str, moment: float, number: signal.Signals, twice: bool
) -> tuple[str, float, str]:
    """Run, interrupt; what came of it, the seconds that it took to end, and what it wrote to stderr."""
    process = _process(peace, home, zoo)
    time.sleep(moment)
    if _answer(home).stat().st_size:
        process.wait()
        return "over before", 0.0, ""
    started = time.monotonic()
    os.killpg(process.pid, number)
    if twice:
        time.sleep(HELD)
        if process.poll() is None:
            os.killpg(process.pid, number)
    try:
        _, err = process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return "went on", time.monotonic() - started, process.communicate()[1]
    seconds = time.monotonic() - started
    time.sleep(1)
    return _named(process, err, number), seconds, err


def _named(process: subprocess.Popen[str], err: str, number: signal.Signals) -> str:
    if process.returncode == 0:
        return "went on"
    if process.returncode != 128 + number:
        return f"exit {process.returncode}"
    if err != LINES[number] + "\n":
        return "more than a line"
    return "left processes" if _alive(process.pid) else "as promised"


def _alive(session: int) -> bool:
    """Whether a process of a session is left."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            return True
    return False


if __name__ == "__main__":
    main()

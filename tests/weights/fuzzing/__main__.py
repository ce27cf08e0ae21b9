"""``python -m tests.weights.fuzzing``: fuzz all formats, or read again a file that failed."""

from __future__ import annotations

import argparse
import sys
from itertools import islice
from pathlib import Path

from tests.weights.fuzzing.harness import HEADING, formats, fuzz, job_of
from tests.weights.fuzzing.worker import read_everything

_SHOWN = 10
"""Failures of a format that are printed; all of them are kept."""


def main() -> int:
    """The exit code: 1 where an input failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.weights.fuzzing", description=__doc__)
    parser.add_argument("--inputs", type=int, default=10_000, help="a format")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--format", action="append", choices=formats(), help="this one only; may be repeated")
    parser.add_argument(
        "--failed", type=Path, default=Path(".peace/fuzz"), help="folder for the inputs that failed"
    )
    parser.add_argument("--replay", type=Path, help="read this file, and nothing else")
    options = parser.parse_args()
    if options.replay:
        read_everything(options.replay)
        return 0
    print(HEADING)
    failures = 0
    for name in options.format or formats():
        report = fuzz(job_of(name, options.inputs, options.seed), options.failed)
        print(report, flush=True)
        for index, reason in islice(report.failures.items(), _SHOWN):
            print(f"  input {index}: {reason[:200]}")
        failures += len(report.failures)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

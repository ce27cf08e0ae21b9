"""Runs workers over a format's inputs, starts the next where one died, and keeps the inputs that failed."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from peace_pipeline.weights.formats.registry import READERS
from tests.weights import corpus
from tests.weights.fuzzing.samples import samples
from tests.weights.fuzzing.worker import MAX_SECONDS, READ, Job, Outcome, read_everything, work

_PATIENCE = 4
"""How many times its limit a worker may take whose own alarm doesn't go off."""
_START = 120
"""Seconds that a worker may take to load a reader."""

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.weights.fuzzing.worker"])


@dataclass
class Report:
    """What came of a format's inputs; ``peak`` in bytes above the baseline, ``failures`` by number of the input."""

    format: str
    inputs: int = 0
    results: Counter[str] = field(default_factory=Counter)
    slowest: float = 0
    peak: int = 0
    failures: dict[int, str] = field(default_factory=dict)

    def add(self, outcome: Outcome) -> None:
        """Count one input."""
        self.inputs += 1
        self.slowest, self.peak = max(self.slowest, outcome.seconds), max(self.peak, outcome.peak)
        if outcome.failure is None:
            self.results[outcome.result] += 1
        else:
            self.failures[outcome.index] = outcome.failure

    def __str__(self) -> str:
        refused = ", ".join(f"{count} {kind}" for kind, count in self.results.most_common() if kind != READ)
        return (
            f"{self.format:15} {self.inputs:8,} {self.results[READ]:8,} {self.slowest:8.2f} s"
            f" {self.peak >> 20:6} MiB {len(self.failures):8}  {refused}"
        )


HEADING = f"{'format':15} {'inputs':>8} {'read':>8} {'slowest':>10} {'memory':>10} {'failures':>8}  refused"


def formats() -> list[str]:
    """The formats of the corpus that have a reader."""
    return [*(name for name, form in corpus.FORMATS.items() if form.reader in READERS), *corpus.OWN]


def job_of(name: str, inputs: int, seed: int, seconds: float = MAX_SECONDS) -> Job:
    """So many damaged files of a format."""
    suffix = corpus.OWN[name][1] if name in corpus.OWN else corpus.FORMATS[name].suffix
    return Job(name, suffix, samples(name), seed, 0, inputs, read_everything, seconds)


def fuzz(job: Job, failed: Path) -> Report:
    """Do a job; inputs that fail are saved in the folder ``failed``."""
    report = Report(job.format)
    for outcome in _outcomes(job):
        report.add(outcome)
        if outcome.failure is not None:
            failed.mkdir(parents=True, exist_ok=True)
            path = failed / f"{job.format.replace(' ', '-')}-{job.seed}-{outcome.index}{job.suffix}"
            path.write_bytes(job.input(outcome.index))
    return report


def _outcomes(job: Job) -> Iterator[Outcome]:
    """An outcome for each input, whatever becomes of the workers.

    Raises:
        RuntimeError: where one doesn't get as far as the first input: the reader refuses a whole sample.
    """
    while job.start < job.stop:
        reached = job.start
        ours, theirs = _context.Pipe(duplex=False)
        worker = _context.Process(target=work, args=(job, theirs), daemon=True)
        worker.start()
        theirs.close()
        try:
            _expect_start(ours)
            while reached < job.stop:
                yield _answer(ours, _PATIENCE * job.seconds)
                reached += 1
        except EOFError:
            yield Outcome(reached, READ, "the process died", 0, 0)
        except TimeoutError:
            yield Outcome(reached, READ, "the process hung", 0, 0)
        finally:
            ours.close()
            worker.kill()
            worker.join()
        job = replace(job, start=reached + 1)


def _expect_start(connection: Connection) -> None:
    try:
        _answer(connection, _START)
    except (EOFError, TimeoutError) as error:
        raise RuntimeError("the reader does not read the samples") from error


def _answer(connection: Connection, seconds: float) -> Any:
    if not connection.poll(seconds):
        raise TimeoutError
    return connection.recv()

"""Damaged files of every format are read or refused; and the harness that says so sees a reader that misbehaves."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from peace_pipeline.weights.errors import CorruptFile
from peace_pipeline.weights.formats.registry import READERS
from tests.weights import corpus
from tests.weights.fuzzing.harness import Report, formats, fuzz, job_of
from tests.weights.fuzzing.worker import MAX_MEMORY, READ, Job

INPUTS = {"hdf5": 60, "keras": 60}
"""Those that take a process each."""
PATIENCE = 60
"""Seconds for each on a machine that is busy with other tests."""


@pytest.mark.parametrize("name", formats())
def test_damaged_files_are_read_or_refused(name: str, tmp_path: Path) -> None:
    inputs = INPUTS.get(name, 250)
    report = fuzz(job_of(name, inputs, seed=1, seconds=PATIENCE), tmp_path)
    assert not report.failures, report.failures
    assert report.inputs == inputs == report.results.total()
    assert 0 < report.results[READ] < inputs, (
        "some are damaged where nothing is read, and some where it matters"
    )
    assert report.peak < MAX_MEMORY


def test_every_reader_is_fuzzed() -> None:
    own = {reader for reader, _ in corpus.OWN.values()}
    assert {
        corpus.FORMATS[name].reader for name in formats() if name not in corpus.OWN
    } | own == READERS.keys()


WHOLE = b"a file that is whole"


def damaged(path: Path) -> bool:
    return path.read_bytes() != WHOLE


def refuses(path: Path) -> None:
    if damaged(path):
        raise CorruptFile("damaged")


def crashes(path: Path) -> None:
    if damaged(path):
        os.abort()


def takes_for_ever(path: Path) -> None:
    while damaged(path):
        pass


def takes_for_ever_where_no_alarm_is_heard(path: Path) -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM])
    takes_for_ever(path)


def imports(path: Path) -> None:
    if damaged(path):
        import this  # noqa: F401


def imports_what_is_not_there(path: Path) -> None:
    if damaged(path):
        try:
            import there_is_no_such_module  # type: ignore[import-not-found]  # noqa: F401
        except ImportError:
            raise CorruptFile("damaged") from None


def writes(path: Path) -> None:
    if damaged(path):
        path.with_name("marker").write_text("")


def writes_by_a_library(path: Path) -> None:
    if damaged(path):
        torch._C.PyTorchFileWriter("marker").write_end_of_file()


def reads_elsewhere(path: Path) -> None:
    if damaged(path):
        Path("/etc/passwd").read_text()


def removes(path: Path) -> None:
    if damaged(path):
        path.unlink()


def starts_a_process(path: Path) -> None:
    if damaged(path):
        subprocess.run(["true"], check=True)


def evaluates(path: Path) -> None:
    if damaged(path):
        eval("1 + 1")


class Evil:
    def __reduce__(self) -> Any:
        return len, ("",)


def unpickles(path: Path) -> None:
    if damaged(path):
        pickle.loads(pickle.dumps(Evil()))


def raises_another_error(path: Path) -> None:
    if damaged(path):
        raise KeyError("name")


def gives_a_reason_of_two_lines(path: Path) -> None:
    if damaged(path):
        raise CorruptFile("damaged\nas the library says")


def takes_all_memory(path: Path) -> None:
    if damaged(path):
        bytearray(2 * MAX_MEMORY)


def takes_much_memory(path: Path) -> None:
    if damaged(path):
        bytearray(MAX_MEMORY // 4)


MISBEHAVING = {
    crashes: "the process died",
    takes_for_ever: "took more than",
    takes_for_ever_where_no_alarm_is_heard: "the process hung",
    imports: "import",
    imports_what_is_not_there: "import",
    writes: "open",
    writes_by_a_library: "wrote 'marker'",
    reads_elsewhere: "open",
    removes: "os.remove",
    starts_a_process: "subprocess.Popen",
    evaluates: "compile",
    unpickles: "pickle.find_class",
    raises_another_error: "KeyError",
    gives_a_reason_of_two_lines: "several lines",
    takes_all_memory: "MemoryError",
}


def fuzzed(read: Any, folder: Path, inputs: int = 3, seconds: float = 0.3) -> tuple[Job, Report]:
    job = Job("any", ".bin", [WHOLE], 0, 0, inputs, read, seconds)
    return job, fuzz(job, folder)


@pytest.mark.parametrize("read", MISBEHAVING)
def test_a_reader_that_misbehaves_is_caught(read: Any, tmp_path: Path) -> None:
    job, report = fuzzed(read, tmp_path)
    wrong = [index for index in range(3) if job.input(index) != WHOLE]
    assert report.inputs == 3, "it goes on with the next input"
    assert [*report.failures] == (wrong[:1] if read is imports else wrong), "a module is imported once"
    assert MISBEHAVING[read] in report.failures[wrong[0]]
    kept = sorted(path.read_bytes() for path in tmp_path.iterdir())
    assert kept == sorted(job.input(index) for index in report.failures)


def test_a_reader_that_reads_no_sample_is_not_fuzzed(tmp_path: Path) -> None:
    job, _ = fuzzed(refuses, tmp_path, inputs=0)
    with pytest.raises(RuntimeError, match="does not read the samples"):
        fuzz(replace(job, samples=[b"damaged"], stop=3), tmp_path)


def test_a_reader_that_refuses_is_not(tmp_path: Path) -> None:
    _, report = fuzzed(refuses, tmp_path, inputs=50, seconds=PATIENCE)
    assert not report.failures
    assert report.results["CorruptFile"] > 40
    assert not [*tmp_path.iterdir()]


def test_the_memory_that_a_reader_takes_is_reported(tmp_path: Path) -> None:
    _, report = fuzzed(takes_much_memory, tmp_path, seconds=PATIENCE)
    assert not report.failures
    assert 0.9 * MAX_MEMORY / 4 < report.peak < MAX_MEMORY / 2

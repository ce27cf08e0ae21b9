"""Work side by side in processes: all of it is done, and none outlives whoever asked for it."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from peace_pipeline.encoder.store import NoEncoder
from peace_pipeline.lake import Lake
from peace_pipeline.workers import WorkerDied, side_by_side


def squared(number: int) -> tuple[int, int]:
    if number < 0:
        raise ValueError(f"{number} is negative")
    return number**2, os.getpid()


def killed(after: float) -> None:
    """Dies at once, or works on where it is asked to end."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(after)
    os.kill(os.getpid(), signal.SIGKILL)


def unsendable(number: int) -> Callable[[], int]:
    return lambda: number


def lacking(home: Path, version: str | None) -> None:
    raise NoEncoder(Lake(home), version)


def logged(name: str) -> None:
    logging.basicConfig()
    logger = logging.getLogger(name)
    if not logger.level:
        logger.setLevel(logging.INFO)
    logger.info("information of %s", name)
    logger.warning("a warning of %s", name)


def test_every_piece_is_done_once_in_other_processes() -> None:
    found = dict(side_by_side(2, squared, [(number,) for number in range(6)]))
    assert {place: each[0] for place, each in found.items()} == {place: place**2 for place in range(6)}
    assert os.getpid() not in {each[1] for each in found.values()}


def test_a_piece_that_fails_says_why_and_no_process_is_left() -> None:
    with (
        pytest.raises(ValueError, match="-1 is negative"),
        closing(side_by_side(2, squared, [(1,), (-1,)])) as made,
    ):
        list(made)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("seconds", [(1.0, 60.0), (60.0, 1.0), (60.0, 0.0, 60.0)])
def test_a_worker_that_was_killed_is_no_riddle(seconds: tuple[float, ...]) -> None:
    began = time.monotonic()
    with pytest.raises(WorkerDied, match="want of memory"):
        list(side_by_side(len(seconds), killed, [(each,) for each in seconds]))
    assert time.monotonic() - began < 30, "the other one is not waited for"


def test_what_cannot_be_sent_back_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(WorkerDied, match="what can't be sent"):
        list(side_by_side(2, unsendable, [(1,), (2,)]))
    assert "local object" in capfd.readouterr().err


def test_an_error_tells_where_in_the_other_process_it_was_raised() -> None:
    with pytest.raises(ValueError, match="-1 is negative") as caught:
        list(side_by_side(1, squared, [(-1,)]))
    assert "in squared" in "".join(caught.value.__notes__)


@pytest.mark.parametrize("version", [None, "abc"])
def test_what_a_lake_lacks_is_said_across_processes(tmp_path: Path, version: str | None) -> None:
    with pytest.raises(NoEncoder, match="encoder abc is neither" if version else "no encoder in"):
        list(side_by_side(1, lacking, [(tmp_path, version)]))


def test_workers_are_as_quiet_as_this_process(capfd: pytest.CaptureFixture[str]) -> None:
    logging.getLogger("tests.quiet").setLevel(logging.ERROR)
    list(side_by_side(1, logged, [("tests.quiet",), ("tests.other",)]))
    assert capfd.readouterr().err == "a warning of tests.other\n"


ENDLESS = """
import os, signal, sys, time
from pathlib import Path
from peace_pipeline.workers import side_by_side

def endless(folder):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(600)

if __name__ == "__main__":
    list(side_by_side(2, endless, [(sys.argv[1],)] * 2))
"""


CHILD = """
import multiprocessing, os, signal, sys, time
from pathlib import Path
from peace_pipeline.workers import end_with_parent

def endless(folder):
    end_with_parent()
    (Path(folder) / str(os.getpid())).touch()
    time.sleep(600)

if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[2])
    children = [multiprocessing.Process(target=endless, args=(sys.argv[1],)) for _ in range(2)]
    for child in children:
        child.start()
    children[0].join()
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=lambda number: number.name)
def test_workers_end_with_the_one_that_asked(tmp_path: Path, number: signal.Signals) -> None:
    parent, children = _begun(tmp_path, ENDLESS)
    parent.send_signal(number)
    parent.wait(10)
    _wait(lambda: not any(map(_lives, children)))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_children_end_with_a_parent_that_was_killed(tmp_path: Path, method: str) -> None:
    parent, children = _begun(tmp_path, CHILD, method)
    parent.kill()
    parent.wait()
    _wait(lambda: not any(map(_lives, children)))


def _begun(folder: Path, code: str, *arguments: str) -> tuple[subprocess.Popen[bytes], list[int]]:
    """A process and its two children."""
    script, begun = folder / "script.py", folder / "begun"
    begun.mkdir()
    script.write_text(code)
    parent = subprocess.Popen(
        [sys.executable, script, begun, *arguments],
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    _wait(lambda: len(list(begun.iterdir())) == 2)
    return parent, [int(path.name) for path in begun.iterdir()]


def _lives(child: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(child, 0)
        return True
    return False


def _wait(until: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.05)

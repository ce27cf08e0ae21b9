"""Work side by side in processes: all of it is done, and none outlives whoever asked for it."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
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


def raising_unsendable(number: int) -> None:
    raise ValueError("what went wrong", threading.Lock())


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


@pytest.mark.parametrize("seconds", [(1.0, 60.0), *[(60.0, 0.5)] * 4, (60.0, 0.0, 60.0)])
def test_a_worker_that_was_killed_is_no_riddle(seconds: tuple[float, ...]) -> None:
    began = time.monotonic()
    with pytest.raises(WorkerDied, match="want of memory"):
        list(side_by_side(len(seconds), killed, [(each,) for each in seconds]))
    assert time.monotonic() - began < 30, "the other one is not waited for"


@pytest.mark.parametrize("work", ["unsendable", "raising_unsendable"])
def test_what_cannot_be_sent_back_is_said(work: str) -> None:
    with pytest.raises(WorkerDied, match=r"its result: .*local object|'what went wrong'.*: cannot pickle"):
        list(side_by_side(2, globals()[work], [(1,), (2,)]))


def test_an_exit_is_that_of_the_work() -> None:
    with pytest.raises(SystemExit, match="3"):
        list(side_by_side(2, sys.exit, [(3,)]))


def test_no_process_is_no_way_to_work() -> None:
    with pytest.raises(ValueError, match="0 processes"):
        list(side_by_side(0, squared, [(1,)]))


def test_processes_that_others_fork_meanwhile_are_not_waited_for() -> None:
    fork = multiprocessing.get_context("fork")
    began = time.monotonic()
    found = side_by_side(2, squared, [(1,), (2,)])
    next(found)
    other = fork.Process(target=time.sleep, args=(60,))
    other.start()
    assert len(list(found)) == 1
    assert time.monotonic() - began < 30
    other.kill()
    other.join()


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


INTERRUPTED = """
import sys, time
from peace_pipeline.workers import side_by_side

if __name__ == "__main__":
    try:
        list(side_by_side(2, time.sleep, [(600,)] * 2))
    except KeyboardInterrupt:
        sys.exit(130)
"""
HELD = """
import sys, time
from peace_pipeline.workers import side_by_side

if __name__ == "__main__":
    found = side_by_side(2, time.sleep, [(0,), (600,)])
    next(found)
    sys.exit(4)
"""


def test_an_interrupt_of_all_processes_is_the_parents(tmp_path: Path) -> None:
    """As by Ctrl-C in a terminal: the workers say nothing."""
    (script := tmp_path / "script.py").write_text(INTERRUPTED)
    parent = subprocess.Popen(
        [sys.executable, script],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=_heeding,
    )
    _wait(lambda: sum("spawn_main" in command for command in _children(parent.pid)) == 2)
    time.sleep(1)
    os.killpg(parent.pid, signal.SIGINT)
    _, said = parent.communicate(timeout=60)
    assert (parent.returncode, said) == (130, "")


def test_one_who_leaves_does_not_wait_for_the_rest(tmp_path: Path) -> None:
    (script := tmp_path / "script.py").write_text(HELD)
    assert subprocess.run([sys.executable, script], timeout=60).returncode == 4


IDLE = """
import os, signal, sys, time
from peace_pipeline.workers import side_by_side

if __name__ == "__main__":
    found = side_by_side(3, time.sleep, [(0,), (0,), (600,)])
    next(found), next(found)
    time.sleep(1)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_workers_of_a_parent_that_was_killed_say_nothing(tmp_path: Path) -> None:
    (script := tmp_path / "script.py").write_text(IDLE)
    found = subprocess.run([sys.executable, script], stderr=subprocess.PIPE, text=True, timeout=60)
    assert (found.returncode, found.stderr) == (-signal.SIGKILL, "")


def _heeding() -> None:
    """In a process to be: it heeds interrupts, whoever begins it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _children(parent: int) -> list[str]:
    """The command lines of a process's children."""
    with suppress(OSError):
        listed = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        return [Path(f"/proc/{child}/cmdline").read_text() for child in listed]
    return []


def _begun(folder: Path, code: str, *arguments: str) -> tuple[subprocess.Popen[bytes], list[int]]:
    """A process and its two children."""
    script, begun = folder / "script.py", folder / "begun"
    begun.mkdir()
    script.write_text(code)
    parent = subprocess.Popen(
        [sys.executable, script, begun, *arguments],
        stderr=subprocess.DEVNULL,
        preexec_fn=_heeding,
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

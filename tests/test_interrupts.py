"""Processes that do this and that when an interrupt comes: each ends with one line and its exit code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

INTERRUPTED, TERMINATED = "peace: interrupted\n", "peace: terminated\n"
SLEEPS = "    time.sleep(60)"
SWALLOWS = """
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        pass
    time.sleep(60)
"""
TELLS_OF_IT = """
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        print("Detected KeyboardInterrupt", file=sys.stderr)
        raise ValueError("another error") from None
"""
HAS_ANOTHER_HANDLER = """
    signal.signal(signal.SIGINT, lambda *_: None)
    time.sleep(60)
    time.sleep(60)
"""
IGNORES_THE_REST = """
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        sys.exit(1)
"""
FINISHES_ANYWAY = """
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        sys.exit(0)
"""
LEAVES_SLOWLY = """
    class Slow:
        sleep = staticmethod(time.sleep)
        def __del__(self):
            self.sleep(2)
    kept = Slow()
"""
PUTS_AWAY = """
    with before_the_end(lambda: print("put away", flush=True)):
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            if not stubborn:
                raise
        time.sleep(60)
"""
ASKS = """
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        pass
    raise_if_received()
    time.sleep(60)
"""
FORKS = """
    import logging, multiprocessing, os, threading
    os.register_at_fork(before=lambda: (print("forks", flush=True), time.sleep(1)))
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,), daemon=True)
    try:
        with forking():
            child.start()
        time.sleep(60)
    except KeyboardInterrupt:
        other = threading.Thread(target=logging.getLogger, args=("other",), daemon=True)
        other.start()
        other.join(5)
        time.sleep(1)
        print("locks are free" if not other.is_alive() else "locks are held", child.is_alive())
        raise
"""


FORKS_SLOWLY = """
import os
os.register_at_fork(after_in_child=lambda: (print("forked", flush=True), time.sleep(1)))
"""
ACTS_SLOWLY = """
    def act():
        print("begun", flush=True)
        time.sleep(1)
        print("done", flush=True)
    with before_the_end(act):
        time.sleep(60)
"""


def start(
    body: str, *, before: str = "", grace: float = 60, start_new_session: bool = False
) -> subprocess.Popen[str]:
    """A process that runs ``body`` while interrupts are answered."""
    script = f"""
import atexit, signal, sys, time
from peace_pipeline.interrupts import answered, before_the_end, forking, raise_if_received
{before}
with answered(grace={grace}):
    print("ready", flush=True)
{body}
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=start_new_session,
    )
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.3)
    return process


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Exit code and standard error, within less than the sleeps."""
    _, err = process.communicate(timeout=30)
    return process.returncode, err


@pytest.mark.parametrize("body", [SLEEPS, TELLS_OF_IT, IGNORES_THE_REST, FINISHES_ANYWAY, ASKS])
def test_one_line_and_its_exit_code(body: str) -> None:
    process = start(body)
    process.send_signal(signal.SIGINT)
    assert end(process) == (130, INTERRUPTED)


@pytest.mark.parametrize("body", [SWALLOWS, HAS_ANOTHER_HANDLER])
def test_what_goes_on_ends_after_the_grace(body: str) -> None:
    process = start(body, grace=0.5)
    process.send_signal(signal.SIGINT)
    assert end(process) == (130, INTERRUPTED)


@pytest.mark.parametrize("body", [SWALLOWS, HAS_ANOTHER_HANDLER])
def test_a_second_one_ends_it_at_once(body: str) -> None:
    process = start(body)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert end(process) == (130, INTERRUPTED)


@pytest.mark.parametrize(("stubborn", "signals", "grace"), [(False, 1, 60), (True, 1, 0.5), (True, 2, 60)])
def test_what_is_to_be_done_before_the_end_is_done(stubborn: bool, signals: int, grace: float) -> None:
    process = start(f"    stubborn = {stubborn}{PUTS_AWAY}", grace=grace)
    for _ in range(signals):
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, set(out.splitlines()), err) == (130, {"put away"}, INTERRUPTED)


@pytest.mark.parametrize("pause", [0.0, 0.5])
def test_what_is_done_before_the_end_is_done_once_and_wholly(pause: float) -> None:
    process = start(ACTS_SLOWLY)
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(pause)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, "begun\ndone\n", INTERRUPTED)


def test_nothing_is_put_away_by_a_process_that_goes_on() -> None:
    process = start("    with before_the_end(lambda: print('put away')):\n        pass")
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "", "")


def test_what_is_to_be_done_before_the_end_has_little_time() -> None:
    process = start(f"    with before_the_end(lambda: time.sleep(60)):{SWALLOWS.replace('    ', '        ')}")
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    assert end(process) == (130, INTERRUPTED)


def test_a_termination() -> None:
    process = start(SLEEPS)
    process.send_signal(signal.SIGTERM)
    assert end(process) == (143, TERMINATED)


def test_the_first_of_two_signals_counts() -> None:
    process = start(SWALLOWS)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    assert end(process) == (143, TERMINATED)


def test_an_interrupt_when_all_is_done_but_for_leaving() -> None:
    process = start("    atexit.register(time.sleep, 60)")
    process.send_signal(signal.SIGINT)
    assert end(process) == (130, INTERRUPTED)


def test_python_takes_leave_undisturbed() -> None:
    process = start(LEAVES_SLOWLY)
    process.send_signal(signal.SIGINT)
    assert end(process) == (0, "")


def test_when_nobody_reads_what_it_says() -> None:
    process = start(SWALLOWS, grace=0.5)
    assert process.stderr
    process.stderr.close()
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130


def test_without_an_interrupt_nothing_is_said() -> None:
    assert end(start("    print('done', file=sys.stderr)")) == (0, "done\n")
    assert end(start("    sys.exit(3)")) == (3, "")


def test_an_interrupt_waits_until_a_process_is_forked() -> None:
    process = start(FORKS, start_new_session=True)
    assert process.stdout
    assert process.stdout.readline() == "forks\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, "locks are free True\n", INTERRUPTED)


def test_forked_processes_leave_a_terminals_interrupt_to_their_parent() -> None:
    process = start(FORKS, start_new_session=True)
    assert process.stdout
    assert process.stdout.readline() == "forks\n"
    time.sleep(2)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, "locks are free True\n", INTERRUPTED)


def test_what_a_process_hears_while_it_is_forked_is_no_second_interrupt() -> None:
    body = """
    if os.fork() == 0:
        os._exit(0)
    with before_the_end(lambda: time.sleep(0.5)):
        try:
            time.sleep(60)
        except KeyboardInterrupt:
            time.sleep(1)
            print("was not hurried", flush=True)
            raise
"""
    process = start(body, before=FORKS_SLOWLY, start_new_session=True)
    assert process.stdout
    assert process.stdout.readline() == "forked\n"
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, "was not hurried\n", INTERRUPTED)


def test_an_interrupt_is_not_lost_where_no_process_can_be_forked() -> None:
    process = start(
        """
    try:
        with forking():
            print("forks", flush=True)
            time.sleep(1)
            raise OSError("no more processes")
    except OSError:
        print("lost")
"""
    )
    assert process.stdout
    assert process.stdout.readline() == "forks\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, "", INTERRUPTED)

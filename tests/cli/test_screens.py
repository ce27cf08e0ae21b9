"""Every screen: in a terminal of 80 and of 120 columns, in a pipe, as JSON, and where it fails."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import Progress

from peace_pipeline.cli.terminal import put_away
from peace_pipeline.lake.locks import alone
from peace_pipeline.stages.crawl import lock_of_crawls
from tests.pipeline import NETWORKS, PEACE, Workplace, environment, own, place, write_networks
from tests.terminal import typed

__all__ = ["own", "place"]
FIRST = "directory:zoo/n000"
ANSWERS = [
    ["status"],
    ["list", "-k", "3"],
    ["list", "--skipped"],
    ["show", FIRST],
    ["search", FIRST],
    ["search", "--text", "cats"],
    ["search", "--text", "nobody says this"],
    ["report"],
    ["gc", "--dry-run"],
]
FAILURES = [
    (["search", "directory:zoo/n0000"], 1),
    (["show", "nothing"], 1),
    (["report", "nothing"], 1),
    (["serch"], 2),
]


@pytest.mark.parametrize(
    ("width", "arguments"),
    [(80, words) for words in ANSWERS] + [(120, ANSWERS[1]), (120, ANSWERS[4])],
    ids=str,
)
def test_in_a_terminal_no_line_breaks(place: Workplace, width: int, arguments: list[str]) -> None:
    code, lines = typed(place.command(*arguments), width=width, cwd=place.root, env=environment())
    assert code == 0, lines
    shown = [line for line in lines if str(place.root) not in line]
    assert max(map(len, shown)) <= width
    if arguments[0] == "show":
        told = {words[0]: words[1] for line in lines if len(words := line.split()) == 2}
        assert told["where"] == str(place.zoo / "n000"), "a path is copied as a whole"
        assert len(told["revision"]) == 64
    assert not any(character in "".join(lines) for character in "┃│━"), "no lines that are copied along"


@pytest.mark.parametrize("command", ["search", "compare", "recommend"])
def test_in_a_terminal_help_breaks_lines_where_there_is_no_room(place: Workplace, command: str) -> None:
    _, lines = typed([str(PEACE), command, "--help"], width=80, cwd=place.root, env=environment())
    (start,) = (number for number, line in enumerate(lines) if "Usage:" in line)
    prose = [
        line.strip() for line in lines[start + 1 : next(n for n, line in enumerate(lines) if "╭" in line)]
    ]
    for line, following in pairwise(prose):
        if line and following:
            assert len(f"{line} {following.split()[0]}") > 78, line


@pytest.mark.parametrize("arguments", ANSWERS, ids=" ".join)
def test_in_a_pipe_it_is_plain_text_and_whole(place: Workplace, arguments: list[str]) -> None:
    out = place.peace(*arguments).out
    assert "\x1b" not in out
    assert "…/" not in out
    assert "--wide" not in out


def test_help_and_wrong_usage_are_plain_in_a_pipe(place: Workplace) -> None:
    for arguments, code in ((["search", "--help"], 0), (["serch"], 2)):
        answer = place.peace_alone(*arguments, code=code)
        assert "peace" in answer.out + answer.err
        assert (answer.out + answer.err).isascii()


@pytest.mark.parametrize("arguments", [[*words, "--json"] for words in ANSWERS], ids=" ".join)
def test_as_json_there_is_one_document(place: Workplace, arguments: list[str]) -> None:
    answer = place.peace(*arguments)
    json.loads(answer.out)
    assert answer.err == ""


@pytest.mark.parametrize(
    ("arguments", "expected"),
    FAILURES,
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else "",
)
def test_failures_say_what_to_do(place: Workplace, arguments: list[str], expected: int) -> None:
    code, lines = typed(place.command(*arguments), width=80, cwd=place.root, env=environment())
    assert code == expected
    assert any(
        words in " ".join(lines).lower() for words in ("did you mean", "there are", "no model nothing")
    )


def test_ids_are_whole_where_they_are_asked_for(place: Workplace) -> None:
    narrow = typed(place.command("search", FIRST), width=40, cwd=place.root, env=environment())[1]
    assert any("--wide" in line for line in narrow)
    wide = typed(place.command("search", FIRST, "--wide"), width=40, cwd=place.root, env=environment())[1]
    assert any(f"{place.root}/zoo/n00" in line for line in wide)


def test_every_command_has_examples_and_the_version_is_told(place: Workplace) -> None:
    from peace_pipeline import __version__
    from peace_pipeline.cli.app import COMMANDS, app

    names = [name for name, *_ in COMMANDS]
    assert len(app.registered_commands) == len(names)
    for name, _, examples in COMMANDS:
        assert examples
        assert all(example.startswith(f"peace {name}") for example in examples)
    help_lines = typed([str(PEACE), "search", "--help"], width=80, cwd=place.root, env=environment())[1]
    assert any("peace search --text" in line for line in help_lines)
    shown = typed([str(PEACE), "--version"], width=80, cwd=place.root, env=environment())[1]
    assert shown[0] == f"peace {__version__}"


def test_ctrl_c_in_a_terminal_is_one_line(own: Workplace) -> None:
    write_networks(own.zoo, NETWORKS, 200)
    command = own.command("run")
    started = time.monotonic()
    code, lines = typed(command, width=80, cwd=own.root, env=environment(), answers="\x03", after=3.0)
    assert (code, lines[-2:]) == (130, ["peace: interrupted", ""]), lines
    assert time.monotonic() - started < 30


def test_no_bar_is_left_of_what_had_nothing_to_do() -> None:
    bars = Progress(console=Console(file=io.StringIO(), force_terminal=True))
    for total in (None, 3):
        bars.update(bars.add_task("work", total=total), completed=total or 0)
    put_away(bars)
    assert [task.visible for task in bars.tasks] == [False, True]
    assert all(task.stop_time is not None for task in bars.tasks), "no clock runs on"


def test_work_that_another_one_interrupted_goes_on(tmp_path: Path) -> None:
    script = (
        "import time; from peace_pipeline.cli.terminal import working; from peace_pipeline.progress import track\n"
        "with working():\n"
        "    outer = track('outer'); track('inner')(2, 2); time.sleep(1.2); outer(1, 1)\n"
    )
    code, lines = typed([sys.executable, "-c", script], width=80, cwd=tmp_path, env=environment())
    last = [line for line in lines if "outer" in line][-1]
    assert code == 0
    assert "1/1" in last
    assert "0:00:00" not in last, "its clock ran"


def test_who_waits_for_another_process_says_so(own: Workplace) -> None:
    with alone(lock_of_crawls(own.lake), "crawl"):
        run = subprocess.Popen(
            own.command("run"), cwd=own.root, env=environment(), stderr=subprocess.PIPE, text=True
        )
        assert run.stderr is not None
        assert run.stderr.readline() == "Crawling · waiting for another crawl of this lake\n"
    assert run.communicate(timeout=120)[1] == ""
    assert run.returncode == 0

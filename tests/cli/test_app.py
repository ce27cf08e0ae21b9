"""What all commands have in common: failures, usage, and what they import."""

from __future__ import annotations

import shlex
import subprocess
import sys

import pytest

from tests.pipeline import Workplace, environment, place

__all__ = ["place"]
HEAVY = [
    "torch",
    "dagster",
    "lightning",
    "mlflow",
    "torch_geometric",
    "pandera",
    "peace_pipeline.zoo.trained",
]
TELLS_IMPORTS = f"""
import sys
from peace_pipeline.cli.main import main
try:
    main()
finally:
    print(*(name for name in {HEAVY} if name in sys.modules), file=sys.stderr)
"""
TELLS_WHETHER_PYDANTIC = TELLS_IMPORTS.replace(str(HEAVY), "['pydantic']")


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["report", "nothing"], 1, "no report 'nothing'"),
        (
            ["report", "nothing", "--write"],
            1,
            "there are ablation, anomaly, generalization, provenance, retrieval, scalability, "
            "space, symmetry, transfer",
        ),
        (["report", "provenance"], 1, "`peace report provenance --write` writes it"),
        (["wiring", "nowhere"], 1, "no such file"),
        (["wiring", "peace.toml"], 1, "not a weight file"),
        (["search", "directory:zoo/n000", "--where", "colour = 'red'"], 1, "colour"),
        (["search", "nowhere"], 1, "not in the index"),
        (["run", "--config", "nowhere.toml"], 1, "nowhere.toml not found"),
    ],
)
def test_failures_are_one_line(place: Workplace, arguments: list[str], code: int, says: str) -> None:
    answer = place.peace(*arguments, code=code)
    assert says in answer.err
    assert answer.err.startswith("peace: ")
    assert answer.err.count("\n") == 1
    assert answer.out == ""


def test_wrong_usage(place: Workplace) -> None:
    for arguments in (
        ["search"],
        ["embed"],
        ["train", "--variant", "none"],
        ["report", "--write"],
        ["embed", "x", "--dtype", "int8"],
        ["no"],
    ):
        answer = place.peace(*arguments, code=2)
        assert "Traceback" not in answer.err
        assert answer.out == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["train", "--help"],
        ["search", "directory:zoo/n000"],
        ["search", "--text", "cats"],
        ["search", "nowhere"],
        ["report"],
        ["report", "retrieval"],
        ["report", "nothing"],
    ],
    ids=" ".join,
)
def test_what_needs_no_network_imports_nothing_heavy(place: Workplace, arguments: list[str]) -> None:
    home = [] if "--help" in arguments else ["--home", str(place.root / "home")]
    answer = subprocess.run(
        [sys.executable, "-c", TELLS_IMPORTS, *arguments, *home],
        cwd=place.root,
        capture_output=True,
        text=True,
        env=environment(),
    )
    assert answer.stderr.splitlines()[-1] == ""


def test_the_list_of_commands_is_printed_without_what_describes_their_settings() -> None:
    command = [sys.executable, "-c", TELLS_WHETHER_PYDANTIC]
    named, asked = (
        subprocess.run([*command, *arguments], capture_output=True, text=True, env=environment())
        for arguments in (["--help"], ["train", "--help"])
    )
    assert (named.stderr.split(), asked.stderr.split()) == ([], ["pydantic"])


def test_where_a_failure_came_from(place: Workplace) -> None:
    command = place.command("wiring", "nowhere")
    told = subprocess.run(
        command, cwd=place.root, capture_output=True, text=True, env=environment() | {"PEACE_TRACEBACK": "1"}
    )
    assert told.returncode == 1
    assert "Traceback" in told.stderr
    assert "symmetry/" in told.stderr


def test_who_reads_no_further_ends_a_command_without_a_word(place: Workplace) -> None:
    command = " ".join(map(shlex.quote, place.command("list", "--json")))
    ended = subprocess.run(
        ["bash", "-c", f"{command} | true; echo ${{PIPESTATUS[0]}}"],
        cwd=place.root,
        capture_output=True,
        text=True,
        env=environment(),
    )
    assert (ended.stdout, ended.stderr) == ("1\n", "")

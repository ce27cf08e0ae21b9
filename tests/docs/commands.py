"""The page of the command line, written from the commands themselves.

python -m tests.docs.commands        # writes the page anew
"""

from __future__ import annotations

import re
from pathlib import Path

import typer.main
from typer.cli import get_docs_for_click

from peace_pipeline.cli.app import app

PAGE = Path(__file__).parents[2] / "docs" / "commands.md"
_INTRODUCTION = (
    "# Commands\n\nNetworks are named by a path (a weight file, or a folder in Hub layout), a model id of the lake, or "
    "`hf://org/name@revision`; of several networks in one place each has its path behind a `#` (`folder#a.pt`, "
    "`org/name#unet`). With `--json` a command prints one document on stdout, "
    "everything else on stderr. Exit code 0 is success, 1 a failure with a one-line reason, 2 wrong usage, 130 an "
    "interrupt, 143 a termination.\n\n"
)
_EXAMPLES = re.compile(r"^Examples:\n\n((?:peace .*\n*)+)", re.MULTILINE)


def page() -> str:
    """The page as it should be."""
    command = typer.main.get_command(app)
    described = get_docs_for_click(obj=command, ctx=typer.Context(command), name="peace")
    commands = described[described.index("## `peace") :]
    commands = _EXAMPLES.sub(_as_console, commands)
    return _INTRODUCTION + re.sub(r"\n{3,}", "\n\n", commands).strip() + "\n"


def _as_console(found: re.Match[str]) -> str:
    lines = [f"$ {line}" for line in found[1].split("\n") if line]
    return "**Examples**:\n\n```console\n" + "\n".join(lines) + "\n```\n\n"


if __name__ == "__main__":
    PAGE.write_text(page())

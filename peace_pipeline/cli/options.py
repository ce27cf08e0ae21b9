"""Options and arguments that several commands share, and how their values are read."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from peace_pipeline.lake import Lake
    from peace_pipeline.zoo.fetching import Fetcher


def byte_count(text: str) -> int:
    """``64MiB``, ``1.5GB`` or ``4096`` as a number of bytes.

    Raises:
        typer.BadParameter: where it is none.
    """
    from pydantic import ByteSize, PositiveInt, TypeAdapter, ValidationError

    try:
        count = TypeAdapter(PositiveInt).validate_python(TypeAdapter(ByteSize).validate_python(text))
        return min(count, sys.maxsize)
    except (ValidationError, OverflowError):
        raise typer.BadParameter(f"{text!r} is no size such as 64MiB") from None


def positive(text: str) -> float:
    """A positive number.

    Raises:
        typer.BadParameter: where it is none.
    """
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise typer.BadParameter(f"{text!r} is no positive number")
    return number


Home = Annotated[
    Path | None,
    typer.Option(envvar="PEACE_HOME", help="Where PEACE keeps everything.", show_default=".peace"),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Budget = Annotated[
    int | None,
    typer.Option(
        "--bytes-budget",
        metavar="SIZE",
        parser=byte_count,
        help="Read at most so much of each, such as 64MiB: a fair part of every tensor.",
        show_default="everything",
    ),
]


def open_lake(home: Path | None) -> Lake:
    """The lake that ``--home`` names."""
    from peace_pipeline.lake import Lake

    return Lake.open(home)


def open_fetcher(lake: Lake) -> Fetcher:
    """What fetches the files of models of the lake: through the configured sources, where a peace.toml can be used."""
    from peace_pipeline.zoo.fetching import Fetcher
    from peace_pipeline.zoo.source import ConfigError

    try:
        return Fetcher.configured(lake)
    except ConfigError:
        return Fetcher()

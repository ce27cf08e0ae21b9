"""Options and arguments that several commands share, and how their values are read."""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

    from peace_pipeline.lake import Lake
    from peace_pipeline.zoo.fetching import Fetcher

Command = TypeVar("Command", bound=Callable[..., None])
Model = TypeVar("Model", bound="BaseModel")


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
Responses = Annotated[
    Literal["never", "auto", "always"] | None,
    typer.Option(
        help="Which networks are run: none, those of at most 300 million parameters, or all that can be.",
        show_default="as peace.toml says, else auto",
    ),
]
Where = Annotated[str | None, typer.Option(metavar="SQL", help="Only those for which this is true.")]
Count = Annotated[int, typer.Option("-k", min=1, help="How many answers.")]
Wide = Annotated[bool, typer.Option("--wide", help="All columns and whole ids, however long the lines get.")]
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


class NoLake(Exception):
    """There is no lake where one is needed."""


def existing_lake(home: Path | None) -> Lake:
    """The lake that ``--home`` names, for what is about all that it holds.

    Raises:
        NoLake: where it isn't there.
    """
    lake = look_at_lake(home)
    if not lake.root.is_dir():
        raise NoLake(
            f"no lake in {lake.root}: `peace run` makes one of what peace.toml names (`peace init` writes it), "
            "--home or PEACE_HOME says where another is"
        )
    return lake


def open_lake(home: Path | None) -> Lake:
    """The same, made where it isn't there."""
    from peace_pipeline.lake import Lake

    return Lake.open(home)


def look_at_lake(home: Path | None) -> Lake:
    """The same, for what may do without: it isn't made where it isn't there."""
    from peace_pipeline.lake import Lake

    return Lake.at(home)


def open_fetcher(lake: Lake) -> Fetcher:
    """What fetches the files of models of the lake: through the configured sources, where a peace.toml can be used."""
    from peace_pipeline.zoo.fetching import Fetcher

    return Fetcher.of(lake)


def which_are_run(lake: Lake, responses: str | None) -> str:
    """What ``--responses`` says, else the configured peace.toml where it can be used."""
    from peace_pipeline.zoo.source import AUTO, ConfigError, configured_responses

    try:
        return responses or configured_responses(lake)
    except ConfigError:
        return AUTO


def settings_of(*models: type[BaseModel]) -> Callable[[Command], Command]:
    """For a command that takes ``**settings``: an option for each field of ``models``, as the field describes it."""
    options: dict[str, inspect.Parameter] = {}
    for model in models:
        for name, field in model.model_fields.items():
            kind, annotation = inspect.Parameter.KEYWORD_ONLY, _option(field, model.model_config.get("title"))
            option = inspect.Parameter(name, kind, default=field.default, annotation=annotation)
            options.setdefault(name, option)

    def decorate(command: Command) -> Command:
        own = inspect.signature(command, eval_str=True).parameters.values()
        kept = [one.replace(kind=one.KEYWORD_ONLY) for one in own if one.kind != one.VAR_KEYWORD]
        command.__signature__ = inspect.Signature([*options.values(), *kept])  # type: ignore[attr-defined]
        command.__annotations__ = {one.name: one.annotation for one in [*options.values(), *kept]}
        return command

    return decorate


def _option(field: FieldInfo, panel: str | None) -> Any:
    rules = {
        name: getattr(rule, name) for rule in field.metadata for name in ("ge", "le") if hasattr(rule, name)
    }
    option = typer.Option(
        help=field.description, min=rules.get("ge"), max=rules.get("le"), rich_help_panel=panel
    )
    return Annotated[field.annotation, option]


def read_settings(model: type[Model], settings: dict[str, Any]) -> Model:
    """The ``model`` with those of the ``settings`` that it has.

    Raises:
        typer.BadParameter: naming the first option whose value it doesn't take.
    """
    from pydantic import ValidationError

    try:
        return model(**{name: settings[name] for name in model.model_fields})
    except ValidationError as error:
        first = error.errors()[0]
        option = f"--{first['loc'][0]}".replace("_", "-")
        raise typer.BadParameter(f"{first['input']}: {first['msg']}", param_hint=option) from None

"""Commands on the reports in the lake."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peace_pipeline.cli import views
from peace_pipeline.cli.options import AsJson, Home, Wide, open_lake
from peace_pipeline.cli.terminal import emit, working

if TYPE_CHECKING:
    from peace_pipeline.cli.terminal import Screen
    from peace_pipeline.lake import Lake


def report(
    name: Annotated[str | None, typer.Argument(help="A report's name.")] = None,
    write: Annotated[bool, typer.Option("--write", help="Write it now, from what is in the lake.")] = False,
    opened: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    home: Home = None,
    wide: Wide = False,
    as_json: AsJson = False,
) -> None:
    """List the reports, print the path of one, or write it anew."""
    from peace_pipeline.evaluation.reports import all_reports, written_reports

    if (write or opened) and name is None:
        raise typer.BadParameter("say which report", param_hint="NAME")
    lake = open_lake(home)
    if name and write and name in all_reports():
        _write(lake, name)
    reports = [row for row in written_reports(lake) if name in (None, row["name"])]
    if name and not reports:
        has_it = name in all_reports()
        hint = f"`peace report {name} --write` writes it" if has_it else _names_like(name, all_reports())
        _fail(f"no report {name!r} in {lake.root}: {hint}")

    def show(screen: Screen) -> None:
        if name:
            typer.echo(reports[0]["path"])
        else:
            views.show_reports(screen, lake)

    emit(reports, as_json, show, wide=wide)
    if opened:
        typer.launch(Path(reports[0]["path"]).as_uri())


def _names_like(name: str, names: Iterable[str]) -> str:
    found = get_close_matches(name, list(names), n=1)
    return f"did you mean {found[0]}?" if found else f"there are {', '.join(names)}"


def _write(lake: Lake, name: str) -> None:
    with working():
        from peace_pipeline.definitions import Pass, defs

        Pass(defs, lake).report(name)


def _fail(reason: str) -> None:
    typer.echo(f"peace: {reason}", err=True)
    raise typer.Exit(1)

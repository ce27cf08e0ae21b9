"""Commands on the reports in the lake."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from peace_pipeline.cli import views
from peace_pipeline.cli.options import AsJson, Home, open_lake
from peace_pipeline.cli.terminal import emit, working

if TYPE_CHECKING:
    from rich.console import Console

    from peace_pipeline.lake import Lake


def report(
    name: Annotated[str | None, typer.Argument(help="A report's name.")] = None,
    write: Annotated[bool, typer.Option("--write", help="Write it now, from what is in the lake.")] = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """List the reports, print the path of one, or write it anew."""
    from peace_pipeline.evaluation.reports import all_reports, written_reports

    if write and name is None:
        raise typer.BadParameter("say which report", param_hint="NAME")
    lake = open_lake(home)
    if name and write and name in all_reports():
        _write(lake, name)
    reports = [row for row in written_reports(lake) if name in (None, row["name"])]
    if name and not reports:
        has_it = name in all_reports()
        hint = (
            f"`peace report {name} --write` writes it" if has_it else f"there are {', '.join(all_reports())}"
        )
        _fail(f"no report {name!r} in {lake.root}: {hint}")

    def show(console: Console) -> None:
        if name:
            typer.echo(reports[0]["path"])
        else:
            views.show_reports(console, lake)

    emit(reports, as_json, show)


def _write(lake: Lake, name: str) -> None:
    with working():
        from peace_pipeline.definitions import Pass, defs

        Pass(defs, lake).report(name)


def _fail(reason: str) -> None:
    typer.echo(f"peace: {reason}", err=True)
    raise typer.Exit(1)

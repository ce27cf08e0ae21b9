"""Commands on the reports in the lake."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from peace_pipeline.cli import views
from peace_pipeline.cli.options import AsJson, Home, open_lake
from peace_pipeline.cli.terminal import emit

if TYPE_CHECKING:
    from rich.console import Console


def report(
    name: Annotated[str | None, typer.Argument(help="A report's name.")] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """List the reports, or print the path of one."""
    from peace_pipeline.evaluation.reports import list_reports

    lake = open_lake(home)
    reports = [row for row in list_reports(lake) if name in (None, row["name"])]
    if name and not reports:
        have = ", ".join(row["name"] for row in list_reports(lake)) or "none yet: `peace run` writes them"
        typer.echo(f"peace: no report {name!r} in {lake.root} ({have})", err=True)
        raise typer.Exit(1)

    def show(console: Console) -> None:
        if name:
            typer.echo(reports[0]["path"])
        else:
            views.show_reports(console, lake)

    emit(reports, as_json, show)

"""The command that draws and opens the atlas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from peace_pipeline.cli.options import AsJson, Home, existing_lake
from peace_pipeline.cli.terminal import emit, working

if TYPE_CHECKING:
    from peace_pipeline.cli.terminal import Screen


def atlas(
    opened: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    write: Annotated[
        bool, typer.Option("--write", help="Draw it anew, also where the index didn't change.")
    ] = False,
    most: Annotated[
        int,
        typer.Option(
            min=1,
            help="Of a larger index show so many at random; the time grows with the square of their number.",
        ),
    ] = 100_000,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Print the path of the interactive map of the index, drawn now where the index changed since."""
    from peace_pipeline.atlas.export import is_current

    lake = existing_lake(home)
    if write or not is_current(lake, most=most):
        with working():
            from peace_pipeline.definitions import Pass, defs

            Pass(defs, lake).atlas(most)

    def show(screen: Screen) -> None:
        typer.echo(str(lake.atlas))

    emit({"path": str(lake.atlas)}, as_json, show)
    if opened:
        typer.launch(lake.atlas.as_uri())

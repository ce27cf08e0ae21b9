"""The application: every command, in the order of the help."""

from __future__ import annotations

import typer

from peace_pipeline.cli import networks, reports, runs
from peace_pipeline.cli.atlas import atlas
from peace_pipeline.cli.failures import Commands
from peace_pipeline.threads import share_the_machine

share_the_machine()

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Search over trained networks by what their weights do.",
)

for command in (
    runs.run,
    runs.demo,
    runs.train,
    runs.gc,
    networks.embed,
    networks.search,
    reports.report,
    atlas,
    networks.wiring,
    networks.transform,
    networks.compare,
):
    app.command()(command)

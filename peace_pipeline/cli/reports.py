"""Commands on the reports in the lake."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from peace_pipeline.cli import views
from peace_pipeline.cli.failures import reason
from peace_pipeline.cli.options import AsJson, Home, Wide, existing_lake
from peace_pipeline.cli.terminal import emit, working

if TYPE_CHECKING:
    from peace_pipeline.cli.terminal import Screen
    from peace_pipeline.evaluation.reports import Outcome
    from peace_pipeline.lake import Lake


def report(
    name: Annotated[str | None, typer.Argument(help="A report's name.")] = None,
    every: Annotated[
        bool, typer.Option("--all", help="With --write: every report, one after the other.")
    ] = False,
    write: Annotated[bool, typer.Option("--write", help="Write it now, from what is in the lake.")] = False,
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", help="With --write: of so few networks that it takes seconds, beside the reports."
        ),
    ] = False,
    opened: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    home: Home = None,
    wide: Wide = False,
    as_json: AsJson = False,
) -> None:
    """List the reports, print the path of one, or write it anew: one, or all of them."""
    from peace_pipeline.evaluation.reports import all_reports, reports_folder, written_reports

    if (every or quick) and not write:
        raise typer.BadParameter("this goes with --write", param_hint="--all" if every else "--quick")
    if every and name:
        raise typer.BadParameter("either one report or all of them", param_hint="NAME")
    if (write or opened) and not (name or every):
        raise typer.BadParameter("say which report", param_hint="NAME")
    lake = existing_lake(home)
    if every:
        written = _write_all(lake, quick, as_json, wide)
        if opened:
            typer.launch((reports_folder(lake, quick) / "index.html").as_uri())
        raise typer.Exit(0 if written else 1)
    if name and write and name in all_reports():
        with working():
            _write(lake, name, quick)
    reports = [row for row in written_reports(lake, quick) if name in (None, row["name"])]
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


def _write(lake: Lake, name: str, quick: bool) -> None:
    """Write a report: as an asset of the lineage, or a quick one beside it."""
    if quick:
        from peace_pipeline.evaluation.reports import all_reports
        from peace_pipeline.progress import track

        all_reports()[name].write(lake, quick=True, progress=track(f"Writing the report {name}"))
    else:
        from peace_pipeline.definitions import Pass, defs

        Pass(defs, lake).report(name)


def _write_all(lake: Lake, quick: bool, as_json: bool, wide: bool) -> bool:
    """Write every report and say what came of each, how long it took and how much memory; whether all went well: what
    there is nothing to report on may be left out, as long as anything is written."""
    from peace_pipeline.evaluation.reports import write_each

    rows: list[dict[str, Any]] = []
    with working():
        for outcome in write_each(lambda name: _write(lake, name, quick)):
            rows.append(_row(lake, outcome, quick))
            row = rows[-1]
            print(
                " · ".join((row["name"], row["state"], f"{row['seconds']} s", row["reason"] or row["path"]))
            )
    document = {
        "reports": rows,
        "seconds": round(sum(row["seconds"] for row in rows), 1),
        "peak_memory_bytes": _peak_memory(resource.RUSAGE_SELF),
        "peak_memory_of_another_process_bytes": _peak_memory(resource.RUSAGE_CHILDREN),
    }
    emit(document, as_json, lambda screen: views.show_written(screen, document), wide=wide)
    states = {row["state"] for row in rows}
    return "failed" not in states and "written" in states


def _row(lake: Lake, outcome: Outcome, quick: bool) -> dict[str, Any]:
    from peace_pipeline.assets.incremental import NotWritten
    from peace_pipeline.encoder.store import NoEncoder
    from peace_pipeline.evaluation.reports import NothingToReport, reports_folder

    error = outcome.error
    left_out = isinstance(error, NotWritten | NothingToReport | NoEncoder)
    return {
        "name": outcome.name,
        "state": "left out" if left_out else "failed" if error else "written",
        "path": None if error else str(reports_folder(lake, quick) / outcome.name / "index.html"),
        "reason": reason(error) if error else None,
        "seconds": outcome.seconds,
    }


def _peak_memory(whose: int) -> int:
    """The most bytes that this process, or one of those that it started, has held at a time."""
    return resource.getrusage(whose).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _fail(why: str) -> None:
    typer.echo(f"peace: {why}", err=True)
    raise typer.Exit(1)

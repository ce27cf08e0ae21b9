"""`peace recommend`: the networks that are worth fine-tuning on somebody's examples."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peace_pipeline.cli.options import (
    AsJson,
    Home,
    Responses,
    Wide,
    existing_lake,
    open_fetcher,
    which_are_run,
)
from peace_pipeline.cli.table import Column
from peace_pipeline.cli.terminal import emit, working
from peace_pipeline.cli.views import KNOWN, of_hit

if TYPE_CHECKING:
    from peace_pipeline.cli.terminal import Screen
    from peace_pipeline.responses.examples import Examples
    from peace_pipeline.stages.recommend import Recommendation

_TRIES, _REASONS = 32, 3
_COLUMNS = (
    Column("rank", "number"),
    Column("model_id", "id"),
    Column("evidence", "number"),
    Column("linear", "number"),
    *KNOWN,
)


def recommend(
    examples: Annotated[
        Path,
        typer.Argument(
            metavar="EXAMPLES",
            help="An .npz file with x and y; a .csv or .parquet file with a column label, and either a column text or "
            "columns of numbers; or a folder of pictures, in a folder for each class.",
        ),
    ],
    k: Annotated[int, typer.Option("-k", min=1, help="How many answers.")] = 10,
    tries: Annotated[
        int, typer.Option(min=1, help="How many networks of the index are run on the examples.")
    ] = _TRIES,
    where: Annotated[
        str | None, typer.Option(metavar="SQL", help="Only models for which this is true.")
    ] = None,
    text: Annotated[
        str | None,
        typer.Option(
            metavar="WORDS", help="Words about your task: networks whose cards have them are run first."
        ),
    ] = None,
    responses: Responses = None,
    home: Home = None,
    wide: Wide = False,
    as_json: AsJson = False,
) -> None:
    """The networks in the index that are most worth fine-tuning on your labelled examples.

    Some of the networks that can be run are run on them, up to --tries: which ones, their vectors say, those near to
    what did well. They are ranked by the evidence (LogME) of a linear model on what their last linear layer
    reads; linear is the share of examples that this model knows when it learns from the others.

    With --json {best: a list of {rank, model_id, revision, evidence, linear, source, task, architecture, datasets,
    accuracy, license, parameters, uri}, run: how many were run, not_run: a list of {model_id, reason}, left: how many
    were not tried, plain: {evidence, linear} of the inputs themselves, null for texts}. Exit code 1 where none takes
    the examples.
    """
    from peace_pipeline.progress import track
    from peace_pipeline.responses.examples import read_examples
    from peace_pipeline.stages.recommend import recommend as recommended

    with working():
        lake = existing_lake(home)
        given = read_examples(examples.expanduser())
        found = recommended(
            lake,
            given,
            open_fetcher(lake),
            k=k,
            tries=tries,
            where=where,
            text=text,
            responses=which_are_run(lake, responses),
            progress=track("Running"),
        )
    emit(found.as_dict(), as_json, lambda screen: show(screen, examples, given, found), wide=wide)
    if not found.best:
        typer.echo(f"peace: none of {len(found.not_run):,} networks takes these examples", err=True)
        raise typer.Exit(1)


def show(screen: Screen, path: Path, examples: Examples, found: Recommendation) -> None:
    """What a person sees of it."""
    if found.best:
        rows = [
            [each.rank, each.network.model_id, each.evidence, each.linear]
            + [of_hit(each.network, column.name) for column in KNOWN]
            for each in found.best
        ]
        screen.table(f"Worth fine-tuning on {path}", _COLUMNS, rows)
    untried = f"; not tried: {found.left:,} (--tries)" if found.left else ""
    screen.print(
        f"Run on {len(examples):,} examples of {len(examples.classes):,} classes: {found.run:,}{untried}."
    )
    if found.plain is not None:
        screen.print(
            f"Of the inputs themselves the evidence is {found.plain.logme:.3f}, linear {found.plain.accuracy:.3f}: a "
            "network below that says less of the labels than what it reads."
        )
    for reason, count in Counter(found.not_run.values()).most_common(_REASONS):
        screen.print(f"Not run: {count:,}, as {reason}.")

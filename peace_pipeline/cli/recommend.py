"""`peace recommend`: the networks that are worth fine-tuning on somebody's examples."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from peace_pipeline.cli.options import (
    AsJson,
    Count,
    Home,
    Responses,
    Where,
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

_REASONS, _NAMED = 10, 3
_COLUMNS = (
    Column("rank", "number"),
    Column("model_id", "id"),
    Column("evidence", "number"),
    Column("linear", "number"),
    Column("of", optional=True),
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
    k: Count = 10,
    tries: Annotated[
        int | None,
        typer.Option(
            min=1, help="How many networks of the index are run on the examples.", show_default="32"
        ),
    ] = None,
    where: Where = None,
    text: Annotated[
        str | None,
        typer.Option(
            metavar="WORDS",
            help="Words about your task: networks that have them, in ids, tags, tasks or cards, are run first.",
        ),
    ] = None,
    responses: Responses = None,
    home: Home = None,
    wide: Wide = False,
    as_json: AsJson = False,
) -> None:
    """The networks in the index that are most worth fine-tuning on your labelled examples.

    Up to --tries of the networks that take such inputs are run on them; the vectors of the index say which ones: those
    near to what did well. They are ranked by the evidence (LogME) of a linear model on what their last linear layer
    reads (hidden), or on what they answer where that can't be had (outputs), which as a rule stands lower than the same
    network's hidden layer would. Linear is the share of examples whose label this model finds when it learns from the
    others (none where all features are alike). A wide network may stand high untrained: of many features, random ones
    too, a linear model makes much.

    Numbers of an .npz file are taken as they are; columns of a table, and pictures, are brought to mean 0 and deviation
    1. Pictures, (n, 1 or 3, height, width) or with the channels last, are brought to a network's size and channels;
    those of a folder to 128×128 first where they are larger or of several sizes. Of a text a network reads the first
    tokens; of more than 1,000 examples so many are drawn, evenly from all classes.

    With --json {best: a list of {rank, model_id, revision, evidence, linear, of, source, task, architecture, datasets,
    accuracy, license, parameters, uri}, run: how many were run, not_run: a list of {model_id, reason}, left: how many
    were not tried, never_run: of how many it isn't known what they take, plain: {evidence, linear} of the inputs
    themselves, null where no network read them as numbers}. Exit code 1 where none takes the examples.
    """
    from peace_pipeline.index.exploring import TRIES
    from peace_pipeline.progress import track
    from peace_pipeline.responses.example_files import read_examples
    from peace_pipeline.stages.recommend import recommend as recommended

    with working():
        lake = existing_lake(home)
        given = read_examples(examples.expanduser())
        found = recommended(
            lake,
            given,
            open_fetcher(lake),
            k=k,
            tries=tries or TRIES,
            where=where,
            text=text,
            responses=which_are_run(lake, responses),
            progress=track("Running"),
        )
    emit(
        found.as_dict(),
        as_json,
        lambda screen: show(screen, examples, given, found, words=text),
        wide=wide,
    )
    if not found.best:
        typer.echo("peace: no network that was tried takes these examples", err=True)
        raise typer.Exit(1)


def show(
    screen: Screen, path: Path, examples: Examples, found: Recommendation, *, words: str | None = None
) -> None:
    """What a person sees of it."""
    if found.best:
        rows = [
            [each.rank, each.network.model_id, each.found.evidence, each.found.linear, each.of]
            + [of_hit(each.network, column.name) for column in KNOWN]
            for each in found.best
        ]
        screen.table(f"By what they tell of {path}", _COLUMNS, rows)
    for line in _facts(examples, found, words):
        screen.print(line)


def _facts(examples: Examples, found: Recommendation, words: str | None) -> Iterator[str]:
    """Sentences on how the networks were found, and on what there is beside them."""
    drawn = (
        f"{len(examples):,} of {examples.given:,}" if examples.given > len(examples) else f"{len(examples):,}"
    )
    networks = f"{found.run:,} network{'' if found.run == 1 else 's'}"
    classes = f"{len(examples.classes):,} classes, the most frequent {examples.commonest:.2f} of them"
    yield f"Run on {drawn} examples ({classes}): {networks}."
    if (distinct := examples.distinct) < len(examples):
        yield f"Only {distinct:,} examples are distinct, so that linear is too high: copies answer for each other."
    if found.plain is not None:
        told = f"evidence {found.plain.evidence:.4f}, linear {found.plain.linear:.4f}"
        none = found.best[0].found.evidence <= found.plain.evidence
        yield f"{'None tells more than the' if none else 'The'} inputs themselves: {told}."
    if examples.scaled:
        yield "Brought to mean 0 and deviation 1: numbers of an .npz file stay on the scale that networks may know."
    if words and not found.words:
        yield f"No network that takes them has one of the words {words!r}."
    if found.left:
        yield f"Not tried: {found.left:,} (--tries)."
    if found.never_run:
        yield f"Never run, so that nobody knows what they take: {found.never_run:,} (`peace show MODEL` says why)."
    names = defaultdict(list)
    for name, reason in found.not_run.items():
        names[reason].append(name)
    reasons = sorted(names.items(), key=lambda each: -len(each[1]))
    for reason, of in reasons[:_REASONS]:
        yield f"Not run: {f'{len(of):,} networks' if len(of) > _NAMED else ', '.join(of)} ({reason})."
    if others := sum(len(of) for _, of in reasons[_REASONS:]):
        yield f"Not run: {others:,} for other reasons (--json has all)."

"""Commands on single networks: embed, search, draw the wiring, transform, compare."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from peace_pipeline.cli import views
from peace_pipeline.cli.options import (
    AsJson,
    Budget,
    Count,
    Home,
    Responses,
    Where,
    Wide,
    look_at_lake,
    open_fetcher,
    positive,
    which_are_run,
)
from peace_pipeline.cli.terminal import emit, working

_NETWORK = "A weight file, a folder in Hub layout, hf://org/name@revision, or a model id of the lake."


def embed(
    paths: Annotated[
        list[str],
        typer.Argument(
            metavar="PATH…",
            help="Weight files, Hub-layout folders, hf://org/name@revision, model ids of the lake.",
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write them to this .parquet or .csv file.")
    ] = None,
    dtype: Annotated[Literal["float32", "float64"], typer.Option(help="Precision.")] = "float32",
    budget: Budget = None,
    responses: Responses = None,
    home: Home = None,
    wide: Wide = False,
    as_json: AsJson = False,
) -> None:
    """Embed checkpoints without storing them; one that can't be read doesn't stop the others (exit code 1)."""
    if out and out.suffix.lower() not in (".parquet", ".csv"):
        raise typer.BadParameter(f"{out.name} is no .parquet or .csv file", param_hint="--out")
    from peace_pipeline.encoder.checkpoints import embed_checkpoints, write_embedded
    from peace_pipeline.progress import track

    with working():
        lake, progress = look_at_lake(home), track("Embedding")
        found = embed_checkpoints(
            lake,
            paths,
            open_fetcher(lake),
            dtype=dtype,
            budget=budget,
            responses=which_are_run(lake, responses),
            progress=progress,
        )
        embedded = list(found)
        if out:
            write_embedded(embedded, out, dtype)
    emit(
        [row.as_dict() for row in embedded],
        as_json,
        lambda screen: views.show_embedded(screen, embedded),
        wide=wide,
    )
    failed = sum(row.error is not None for row in embedded)
    if failed:
        typer.echo(f"peace: {failed} of {len(embedded)} could not be embedded", err=True)
        raise typer.Exit(1)


def search(
    query: Annotated[str | None, typer.Argument(help="A model id in the index, or a path.")] = None,
    k: Count = 10,
    budget: Budget = None,
    where: Where = None,
    text: Annotated[
        str | None,
        typer.Option(metavar="WORDS", help="Words in ids, tags, tasks, cards; alone, or with QUERY."),
    ] = None,
    by: Annotated[
        Literal["both", "weights", "responses"],
        typer.Option(help="Compare all that is known of networks, or their weights or responses alone."),
    ] = "both",
    output: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL:LABEL",
            help="Find outputs near this one: a label of a model in the index, or a place.",
        ),
    ] = None,
    label: Annotated[
        str | None, typer.Option(metavar="WORDS", help="Find outputs by words in their label.")
    ] = None,
    responses: Responses = None,
    home: Home = None,
    wide: Wide = False,
    as_json: AsJson = False,
) -> None:
    """The networks in the index that are nearest to a network, to words, or to both; or outputs of networks.

    With --json a list of {rank, model_id, revision, source, task, architecture, similarity, as_similar, score,
    datasets, accuracy, license, parameters, uri, same_senses}, of outputs {rank, model_id, revision, place, label,
    similarity, score}. as_similar is the share of the index's pairs of networks that are at least as similar; score
    says how well words fit; same_senses is false where of the two networks one has answers and the other has none.
    Similarities are null where words alone are asked for, scores where none are.
    """
    of_outputs = output is not None or label is not None
    if of_outputs and (query is not None or text is not None or by != "both"):
        raise typer.BadParameter("--output and --label find outputs: without QUERY, --text and --by")
    if query is None and text is None and not of_outputs:
        raise typer.BadParameter("give a QUERY, --text WORDS, --output MODEL:LABEL, or --label WORDS")
    if by != "both" and query is None:
        raise typer.BadParameter("--by says how a QUERY is compared")
    from peace_pipeline.index.lookup import find, find_outputs, has_unknown_activation
    from peace_pipeline.index.search import why_nothing
    from peace_pipeline.index.tables import OUTPUTS

    if of_outputs:
        with working():
            lake = look_at_lake(home)
            outputs = find_outputs(lake, output, label=label, k=k, where=where)
            nothing = "" if outputs else why_nothing(lake, OUTPUTS, where=where, text=label)
        title = f"Outputs like {output}" if output else f"Outputs that are called {label!r}"
        emit(
            [hit.as_dict() for hit in outputs],
            as_json,
            lambda screen: views.show_outputs(screen, title, outputs, nothing),
            wide=wide,
        )
        return
    with working():
        lake = look_at_lake(home)
        hits = find(
            lake,
            query,
            open_fetcher(lake),
            by=by,
            k=k,
            where=where,
            text=text,
            budget=budget,
            responses=which_are_run(lake, responses),
        )
        nothing = "" if hits else why_nothing(lake, by=by, where=where, text=text)
        is_open = (
            query is not None and by != "responses" and not as_json and has_unknown_activation(lake, query)
        )
    title = f"Nearest to {query}" if query else f"Networks with {text!r}"
    emit(
        [hit.as_dict() for hit in hits],
        as_json,
        lambda screen: views.show_hits(screen, title, hits, nothing, is_open=is_open),
        wide=wide,
    )


def wiring(
    path: Annotated[str, typer.Argument(metavar="PATH", help=_NETWORK)],
    out: Annotated[
        Path | None, typer.Option(help="Also draw it into this .html or .svg file.", metavar="FILE")
    ] = None,
    home: Home = None,
    wide: Wide = False,
    as_json: AsJson = False,
) -> None:
    """How PEACE reads a checkpoint: its neuron groups, their symmetries, and the layers between them."""
    if out and out.suffix.lower() not in (".html", ".svg"):
        raise typer.BadParameter(f"{out.name} is no .html or .svg file", param_hint="--out")
    from peace_pipeline.symmetry.wiring_report import describe_wiring

    with working():
        lake = look_at_lake(home)
        report = describe_wiring(lake, path, open_fetcher(lake))
        if out:
            from peace_pipeline.symmetry.drawing.picture import draw

            draw(report.wiring, out, path, report.reason)
    emit(report.as_dict(), as_json, lambda screen: views.show_wiring(screen, report), wide=wide)


def transform(
    source: Annotated[str, typer.Argument(metavar="SRC", help=_NETWORK)],
    destination: Annotated[Path, typer.Argument(metavar="DST", help="What is written; must not exist.")],
    permute: Annotated[bool, typer.Option("--permute", help="Permute hidden units and streams.")] = False,
    scale: Annotated[
        float | None,
        typer.Option(
            metavar="DECADES",
            parser=positive,
            help="Scale hidden units by factors in 10^±DECADES; powers of two below float32.",
        ),
    ] = None,
    signs: Annotated[bool, typer.Option("--signs", help="Change signs of hidden units and streams.")] = False,
    heads: Annotated[bool, typer.Option("--heads", help="Permute attention heads.")] = False,
    mix: Annotated[
        bool, typer.Option("--mix", help="Mix heads, linear units and streams; move gains and biases.")
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="All of these that apply; DECADES is 2 if not given.")
    ] = False,
    noise: Annotated[
        float | None,
        typer.Option(
            metavar="SIGMA",
            parser=positive,
            help="Then add noise of so many deviations of each tensor: not the same function any more.",
        ),
    ] = None,
    assume: Annotated[
        Literal["chain"] | None,
        typer.Option(
            help="Take what `peace wiring` assumes of a chain as given; the function may change if it isn't."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1)] = 0,
    home: Home = None,
    wide: Wide = False,
    as_json: AsJson = False,
) -> None:
    """Write another checkpoint of the same function: permuted, rescaled, mixed at random."""
    chosen = {"--permute": permute, "--scale": scale, "--signs": signs, "--heads": heads, "--mix": mix}
    flags = [name for name, value in chosen.items() if value]
    if not (flags or everything or noise):
        raise typer.BadParameter(f"give one of {', '.join(chosen)}, --all, --noise")
    from peace_pipeline.progress import track
    from peace_pipeline.symmetry.opening import local_model
    from peace_pipeline.symmetry.transforming import strengths, transform
    from peace_pipeline.zoo.card import CONFIG

    with working():
        lake = look_at_lake(home)
        with local_model(lake, source, open_fetcher(lake)) as model:
            done = transform(
                model,
                destination.expanduser(),
                strengths(flags, everything=everything, decades=scale),
                lenient=everything,
                noise=noise or 0.0,
                seed=seed,
                assume=assume is not None,
                progress=track("Transforming"),
            )
            config = model.path.parent / CONFIG
            there = destination.expanduser().parent / CONFIG
            is_apart = model.path.is_file() and config.exists() and not there.exists()
    emit(
        done.as_dict(),
        as_json,
        lambda screen: views.show_transformation(screen, destination, done, config if is_apart else None),
        wide=wide,
    )


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help=_NETWORK)],
    b: Annotated[
        str | None,
        typer.Argument(
            metavar="B", help="Another one.", show_default="those of the index nearest by weights"
        ),
    ] = None,
    k: Annotated[
        int | None,
        typer.Option(
            "-k",
            min=1,
            help="Without B: so many of all, and five times as many of those with as many parameters.",
            show_default="20",
        ),
    ] = None,
    home: Home = None,
    wide: Wide = False,
    as_json: AsJson = False,
) -> None:
    """What two networks have to do with each other: identical, equivalent, derived or unrelated.

    Of cast, pruned and rounded ones also which was made of the other, where that can be seen (made in --json).

    Without B whether A is a copy of one of the networks of the index that are nearest to it, one was made of
    the other, or neither. All of each is read, from the Hub where it isn't on this machine. With --json then {found: a
    list of {model_id, verdict, reason, relation, similarity, assumes, clear, made}, the closest first; left: how many
    more have as many parameters}. Exit code 1 where none could be read.
    """
    if b is not None and k is not None:
        raise typer.BadParameter("-k says how many networks A is compared with: without B")
    from peace_pipeline.comparison import verdict as comparison

    lake = look_at_lake(home)
    if b is not None:
        with working():
            document = comparison.compare(lake, a, b, open_fetcher(lake))
        emit(document, as_json, lambda screen: views.show_comparison(screen, document), wide=wide)
        return
    from peace_pipeline.progress import track
    from peace_pipeline.stages.relatives import NEAREST, relatives

    with working():
        kin = relatives(lake, a, open_fetcher(lake), k=k or NEAREST, progress=track("Comparing"))
    emit(
        asdict(kin),
        as_json,
        lambda screen: views.show_relatives(screen, a, kin),
        wide=wide,
    )
    if kin.found and len(kin.unread) == len(kin.found):
        typer.echo(f"peace: none of {len(kin.found)} could be read", err=True)
        raise typer.Exit(1)

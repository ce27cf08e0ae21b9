"""``peace …``: thin; every command calls one function. Heavy imports wait until a command needs them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.text import Text

from peace_pipeline.cli.terminal import Commands, byte_count, columns, emit, positive, table, working

if TYPE_CHECKING:
    from rich.console import Console

    from peace_pipeline.definitions import PassSummary
    from peace_pipeline.index.checkpoints import EmbeddedCheckpoint, WiringReport
    from peace_pipeline.index.search import Hit
    from peace_pipeline.lake import Lake
    from peace_pipeline.symmetry.group.transform import Transformation

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Search over trained networks by what their weights do.",
)

Home = Annotated[
    Path | None,
    typer.Option(envvar="PEACE_HOME", help="Where PEACE keeps everything.", show_default=".peace"),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Config = Annotated[
    Path | None, typer.Option(help="The sources to crawl.", show_default="./peace.toml, else HOME/peace.toml")
]
Checkpoint = Annotated[
    str,
    typer.Argument(metavar="PATH", help="A weight file, a folder in Hub layout, or hf://org/name@revision."),
]
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

_NETWORK = "A weight file, a folder in Hub layout, hf://org/name@revision, or a model id of the lake."
_SHOWN, _NAMES = 50, 3
_HITS = ("rank", "model_id", "revision", "source", "task", "architecture", "similarity")
_DEMO = """\
# What `peace run` crawls. Paths are relative to this file.

[[source]]
kind = "trained"
recipe = "demo"

[[source]]
kind = "packages"
"""


@app.command()
def run(config: Config = None, home: Home = None, as_json: AsJson = False) -> None:
    """One incremental pass: crawl the configured sources, then everything that became stale."""
    summary = _run(_lake(home), str(config or ""))
    emit(summary.as_dict(), as_json, lambda console: _show_pass(console, summary))


@app.command()
def demo(home: Home = None, as_json: AsJson = False) -> None:
    """A pass over the built-in offline zoo, then an example query."""
    lake = _lake(home)
    config = lake.root / "peace.toml"
    if not config.exists():
        config.write_text(_DEMO)
    summary = _run(lake, str(config))

    def show(console: Console) -> None:
        _show_pass(console, summary)
        _show_example(console, lake)
        _show_reports(console, lake)

    emit(summary.as_dict(), as_json, show)


@app.command()
def train(
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training networks.")] = 40,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    variant: Annotated[str, typer.Option(help="`full`, or one that leaves a part out.")] = "full",
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Train an encoder on what is in the lake; the next `peace run` embeds every network anew."""
    lake = _lake(home)
    with working():
        from peace_pipeline.definitions import Pass, defs

        _check_variant(variant)
        document = Pass(defs, lake).train(epochs=epochs, seed=seed, variant=variant)

    def show(console: Console) -> None:
        console.print(
            f"Encoder {document['encoder_version']} trained in {document['seconds']:.0f} s "
            f"({document['epochs']} epochs, validation MAP {document['validation_map']:.3f}).\n"
            "The index still serves the embeddings of the encoder before: `peace run` embeds every network anew."
        )

    emit(document, as_json, show)


@app.command()
def embed(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH…", help="Weight files, Hub-layout folders, hf://org/name@revision."),
    ],
    out: Annotated[Path | None, typer.Option(help="Also write them to this Parquet file.")] = None,
    dtype: Annotated[Literal["float32", "float64"], typer.Option(help="Precision.")] = "float32",
    budget: Budget = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Embed checkpoints without storing them; one that can't be read doesn't stop the others (exit code 1)."""
    from peace_pipeline.index.checkpoints import embed_paths, write_embedded
    from peace_pipeline.progress import track

    with working():
        progress = track("Embedding")
        embedded = list(embed_paths(_lake(home), paths, dtype=dtype, budget=budget, progress=progress))
        if out:
            write_embedded(embedded, out, dtype)
    columns = ("path", "parameters", "wiring", "read", "vector or reason")
    rows = [
        (row.path, row.parameters, row.wiring, _extent(row), row.error or _vector(row.vector or []))
        for row in embedded
    ]
    emit(
        [row.as_dict() for row in embedded],
        as_json,
        lambda console: console.print(table("Embeddings", columns, rows)),
    )
    failed = sum(row.error is not None for row in embedded)
    if failed:
        typer.echo(f"peace: {failed} of {len(embedded)} could not be embedded", err=True)
        raise typer.Exit(1)


@app.command()
def search(
    query: Annotated[str | None, typer.Argument(help="A model id in the index, or a path.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many answers.")] = 10,
    budget: Budget = None,
    where: Annotated[
        str | None, typer.Option(metavar="SQL", help="Only models for which this is true.")
    ] = None,
    text: Annotated[
        str | None, typer.Option(metavar="WORDS", help="Words in the card; alone, or with QUERY.")
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """The networks in the index that are nearest to a network, to words, or to both."""
    if query is None and text is None:
        raise typer.BadParameter("give a QUERY, or --text WORDS")
    from peace_pipeline.index.lookup import find

    with working():
        hits = find(_lake(home), query, k=k, where=where, text=text, budget=budget)
    title = f"Nearest to {query}" if query else f"Cards with {text!r}"
    emit([hit.as_dict() for hit in hits], as_json, lambda console: console.print(_hits(title, hits)))


@app.command()
def report(
    name: Annotated[str | None, typer.Argument(help="A report's name.")] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """List the reports, or print the path of one."""
    from peace_pipeline.evaluation.reports import list_reports

    lake = _lake(home)
    reports = [row for row in list_reports(lake) if name in (None, row["name"])]
    if name and not reports:
        have = ", ".join(row["name"] for row in list_reports(lake)) or "none yet: `peace run` writes them"
        typer.echo(f"peace: no report {name!r} in {lake.root} ({have})", err=True)
        raise typer.Exit(1)

    def show(console: Console) -> None:
        if name:
            typer.echo(reports[0]["path"])
        else:
            _show_reports(console, lake)

    emit(reports, as_json, show)


@app.command()
def wiring(
    path: Checkpoint,
    out: Annotated[
        Path | None, typer.Option(help="Also draw it into this .html or .svg file.", metavar="FILE")
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """How PEACE reads a checkpoint: its neuron groups, their symmetries, and the layers between them."""
    if out and out.suffix.lower() not in (".html", ".svg"):
        raise typer.BadParameter(f"{out.name} is no .html or .svg file", param_hint="--out")
    from peace_pipeline.index.checkpoints import describe_wiring

    with working():
        report = describe_wiring(_lake(home), path)
        if out:
            from peace_pipeline.symmetry.drawing.picture import draw

            draw(report.wiring, out, path, report.reason)
    emit(report.as_dict(), as_json, lambda console: _show_wiring(console, report))


@app.command()
def transform(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="A weight file, or a folder in Hub layout.")],
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
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1)] = 0,
    home: Home = None,  # as every command has; nothing is kept there
    as_json: AsJson = False,
) -> None:
    """Write another checkpoint of the same function: permuted, rescaled, mixed at random."""
    chosen = {"--permute": permute, "--scale": scale, "--signs": signs, "--heads": heads, "--mix": mix}
    flags = [name for name, value in chosen.items() if value]
    if not (flags or everything or noise):
        raise typer.BadParameter(f"give one of {', '.join(chosen)}, --all, --noise")
    from peace_pipeline.progress import track
    from peace_pipeline.symmetry.group.transform import strengths, transform

    with working():
        done = transform(
            source.expanduser(),
            destination.expanduser(),
            strengths(flags, everything=everything, decades=scale),
            lenient=everything,
            noise=noise or 0.0,
            seed=seed,
            progress=track("Transforming"),
        )
    emit(done.as_dict(), as_json, lambda console: _show_transformation(console, destination, done))


@app.command()
def compare(
    a: Annotated[str, typer.Argument(metavar="A", help=_NETWORK)],
    b: Annotated[str, typer.Argument(metavar="B", help="Another one.")],
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """What two networks have to do with each other: identical, equivalent, derived or unrelated."""
    from peace_pipeline.comparison import verdict as comparison

    with working():
        document = comparison.compare(_lake(home), a, b)
    emit(document, as_json, lambda console: _show_comparison(console, document))


def _lake(home: Path | None) -> Lake:
    from peace_pipeline.lake import Lake

    return Lake.open(home)


def _run(lake: Lake, config: str) -> PassSummary:
    with working():
        from peace_pipeline.definitions import Pass, defs

        return Pass(defs, lake, config).run()


def _check_variant(variant: str) -> None:
    from peace_pipeline.encoder.model import VARIANTS

    if variant not in VARIANTS:
        raise typer.BadParameter(f"{variant!r} is not one of {', '.join(VARIANTS)}", param_hint="--variant")


def _extent(row: EmbeddedCheckpoint) -> str:
    return "" if row.error else "sampled" if row.sampled else "whole"


def _vector(vector: list[float]) -> str:
    return f"[{', '.join(f'{value:.3f}' for value in vector[:3])}, … {len(vector)}]"


def _hits(title: str, hits: list[Hit]) -> Any:
    columns = [name for name in _HITS if name not in ("revision", "source")]
    return table(title, columns, [[hit.as_dict()[name] for name in columns] for hit in hits])


def _show_pass(console: Console, summary: PassSummary) -> None:
    if summary.idle:
        console.print("Nothing to do: no model is new, changed or gone, and nothing is stale.")
    else:
        console.print(
            f"{summary.new} new, {summary.changed} changed, {summary.deleted} gone; "
            f"{summary.embedded} embedded{', encoder trained' if summary.trained else ''}."
        )
    if summary.skipped:
        rows = [(row["model_id"], row["reason"]) for row in summary.skipped[:_SHOWN]]
        console.print(table("Skipped", ("model_id", "reason"), rows))
        if len(summary.skipped) > _SHOWN:
            console.print(f"… and {len(summary.skipped) - _SHOWN} more: --json lists them all")
    if summary.encoder_version is None:
        console.print("No encoder yet: at least 64 networks are needed to train one; nothing is indexed.")
    console.print(f"Encoder {summary.encoder_version or '–'}, {summary.seconds:.1f} s.", highlight=False)


def _show_example(console: Console, lake: Lake) -> None:
    from peace_pipeline.index.lookup import example, find

    model_id = example(lake)
    if model_id:
        console.print(f"\npeace search {model_id} -k 5", style="bold", highlight=False)
        console.print(_hits(f"Nearest to {model_id}", find(lake, model_id, k=5)))


def _show_reports(console: Console, lake: Lake) -> None:
    from peace_pipeline.evaluation.reports import list_reports

    rows = [(row["name"], row["path"], row["created_at"]) for row in list_reports(lake)]
    console.print(table("Reports", ("name", "path", "created_at"), rows))


def _some(names: list[str]) -> str:
    more = f", … {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    return ", ".join(names[:_NAMES]) + more


def _show_transformation(console: Console, destination: Path, done: Transformation) -> None:
    by_action: dict[str, list[str]] = {}
    for group, action in done.actions:
        by_action.setdefault(action, []).append(group)
    rows = [(action, len(groups), _some(groups)) for action, groups in by_action.items()]
    if rows:
        console.print(table("Actions", ("action", "groups", "names"), rows))
    noise = f", then noise of {done.noise:g} deviations: not the same function" if done.noise else ""
    console.print(f"{destination} is written (seed {done.seed}{noise}).", highlight=False)


def _show_comparison(console: Console, document: dict[str, Any]) -> None:
    console.print(Text(document["verdict"], "bold") + Text(f": {document['reason']}."))
    layers = document["layers"]
    if layers:
        rows = [(row["a"], row["b"], row["similarity"], row.get("evidence")) for row in layers[:_SHOWN]]
        console.print(table("Layers", ("A", "B", "similarity", "evidence"), rows))
    if len(layers) > _SHOWN:
        console.print(f"… and {len(layers) - _SHOWN} more: --json lists them all")
    orders = document.get("permutations", {})
    moved = [(name, len(order)) for name, order in orders.items() if order != sorted(order)]
    if moved:
        console.print(table("Groups in another order: --json has the permutations", ("name", "size"), moved))


def _show_wiring(console: Console, report: WiringReport) -> None:
    from peace_pipeline.symmetry.drawing.outline import lines, steps

    wiring = report.wiring
    family = f" ({wiring.family})" if wiring.family else ""
    console.print(f"Read as {wiring.method}{family}: {report.reason}.\n", highlight=False)
    console.print(
        "● a group of neurons, its size and symmetries (○ again); below it the layers that write it ← what they read\n",
        highlight=False,
    )
    for line in columns(lines(steps(wiring)), console.width):
        console.print(line, soft_wrap=True)

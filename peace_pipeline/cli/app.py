"""The application: every command, in the order of the help."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from peace_pipeline.cli import lake, networks, reports, runs, setup
from peace_pipeline.cli.atlas import atlas
from peace_pipeline.cli.failures import Commands
from peace_pipeline.cli.recommend import recommend
from peace_pipeline.cli.terminal import is_terminal
from peace_pipeline.threads import share_the_machine

share_the_machine()

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich" if is_terminal() else None,
    epilog="First steps: peace init, peace run, peace list, peace search MODEL. Every command has examples: "
    "peace COMMAND --help.",
)


def _print_version(asked: bool) -> None:
    if asked:
        from peace_pipeline import __version__

        typer.echo(f"peace {__version__}")
        raise typer.Exit


COMMANDS: tuple[tuple[str, Callable[..., None], tuple[str, ...]], ...] = (
    ("init", setup.init, ("peace init models/", "peace init --hub org --hub other-org")),
    ("run", runs.run, ("peace run", "peace run --config zoo/peace.toml --json")),
    ("status", lake.status, ("peace status", "peace status --json | jq .stale")),
    (
        "list",
        lake.list_models,
        ("peace list --where \"task = 'image-classification'\"", "peace list --skipped"),
    ),
    ("show", lake.show, ("peace show directory:models/resnet",)),
    (
        "search",
        networks.search,
        (
            "peace search directory:models/resnet -k 5",
            "peace search model.safetensors --by weights --where \"license = 'mit'\"",
            'peace search --text "digits cnn"',
            "peace search --output directory:models/resnet:cat",
        ),
    ),
    (
        "compare",
        networks.compare,
        ("peace compare a.safetensors directory:models/resnet", "peace compare model.safetensors"),
    ),
    (
        "recommend",
        recommend,
        (
            "peace recommend examples.npz --text heartbeats",
            "peace recommend pictures/ -k 3 --where \"license = 'mit'\"",
        ),
    ),
    ("embed", networks.embed, ("peace embed model.safetensors", "peace embed models/* --out vectors.csv")),
    ("wiring", networks.wiring, ("peace wiring model.onnx", "peace wiring org/name --out wiring.html")),
    (
        "transform",
        networks.transform,
        ("peace transform directory:models/resnet disguised --all", "peace transform a b --permute --seed 1"),
    ),
    (
        "forget",
        lake.forget,
        ("peace forget org/name", "peace forget directory:old/", "peace forget org/name --again"),
    ),
    ("train", runs.train, ("peace train", "peace train --start pretrained --epochs 20")),
    ("encoder", runs.encoder, ("peace encoder", "peace encoder pretrained")),
    ("report", reports.report, ("peace report", "peace report retrieval --write --open")),
    ("atlas", atlas, ("peace atlas --open",)),
    ("ui", setup.ui, ("peace ui", "peace ui --port 3010")),
    ("gc", runs.gc, ("peace gc --dry-run", "peace gc --older-than 0")),
    ("demo", runs.demo, ("peace demo", "peace demo --home /tmp/demo")),
)
"""Every command with its name and what people type."""


def _paragraphs(text: str | None) -> str:
    """Text without line breaks inside paragraphs, which a terminal would keep beside its own."""
    return "\n\n".join(" ".join(part.split()) for part in (text or "").split("\n\n"))


for name, command, examples in COMMANDS:
    kind = runs.Training if command is runs.train else None
    told = _paragraphs(command.__doc__)
    app.command(name, cls=kind, help=told, epilog="\n\n".join(["Examples:", *examples]))(command)


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version),
    ] = False,
) -> None:
    """Search over trained networks by what their weights do."""

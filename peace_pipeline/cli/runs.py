"""Commands that change the lake: a pass over the lineage, the demo, a training, the collection of garbage."""

from __future__ import annotations

from functools import cached_property, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.main
from typer.core import TyperCommand

from peace_pipeline.cli import views
from peace_pipeline.cli.options import (
    AsJson,
    Home,
    Responses,
    Wide,
    existing_lake,
    look_at_lake,
    open_lake,
    read_settings,
    settings_of,
)
from peace_pipeline.cli.terminal import emit, working

if TYPE_CHECKING:
    from peace_pipeline.cli.terminal import Screen
    from peace_pipeline.definitions import PassSummary
    from peace_pipeline.lake import Lake

Config = Annotated[
    Path | None, typer.Option(help="The sources to crawl.", show_default="./peace.toml, else HOME/peace.toml")
]
_DEMO = """\
# What `peace run` crawls. Paths are relative to this file.

[[source]]
kind = "trained"
recipe = "demo"

[[source]]
kind = "packages"
"""


def run(
    config: Config = None,
    responses: Responses = None,
    home: Home = None,
    wide: Wide = False,
    as_json: AsJson = False,
) -> None:
    """One incremental pass: crawl the configured sources, then everything that became stale."""
    lake = open_lake(home)
    summary = _run(lake, str(config or ""), responses or "")
    emit(summary.as_dict(), as_json, lambda screen: views.show_pass(screen, summary, lake), wide=wide)


def demo(home: Home = None, wide: Wide = False, as_json: AsJson = False) -> None:
    """A pass over the built-in offline zoo with the encoder that PEACE ships, a training of its own from it, a query.

    With --json also {encoder_version: {figure: value}} of both under "figures", where one was trained.
    """
    lake = open_lake(home)
    config = lake.root / "peace.toml"
    if not config.exists():
        config.write_text(_DEMO)
    with working():
        from peace_pipeline.definitions import Pass, defs

        summary = Pass(defs, lake, str(config)).demo()

    def show(screen: Screen) -> None:
        views.show_pass(screen, summary, lake)
        views.show_figures(screen, summary.figures)
        views.show_example(screen, lake)
        views.show_reports(screen, lake)

    emit(summary.as_dict() | {"figures": summary.figures}, as_json, show, wide=wide)


class Training(TyperCommand):
    """`peace train` with an option for each setting, made when they are asked for: to import what describes them takes
    a third of `peace --help`."""

    @cached_property
    def _whole(self) -> Any:
        from peace_pipeline.encoder.settings import PairSettings, Settings

        @settings_of(Settings, PairSettings)
        @wraps(train)
        def command(**settings: Any) -> None:
            train(**settings)

        alone = typer.Typer(add_completion=False)
        alone.command()(command)
        return typer.main.get_command(alone)

    def get_params(self, ctx: Any) -> list[Any]:
        """Of the command and its settings."""
        self.params, self.callback = self._whole.params, self._whole.callback
        return super().get_params(ctx)


@settings_of()
def train(home: Home = None, as_json: AsJson = False, **settings: Any) -> None:
    """Train an encoder on what is in the lake; the next `peace run` embeds every network anew."""
    from peace_pipeline.encoder import store
    from peace_pipeline.encoder.settings import PairSettings, Settings

    training, pairs = read_settings(Settings, settings), read_settings(PairSettings, settings)
    lake = existing_lake(home)
    if training.start not in ("scratch", store.PRETRAINED, *(there := store.versions(lake))):
        offered = ", ".join(["scratch", store.PRETRAINED, *there])
        raise typer.BadParameter(f"{training.start!r} is none of {offered}", param_hint="--start")
    with working():
        from peace_pipeline.definitions import Pass, defs

        document = Pass(defs, lake).train(training, pairs)
    training_of = store.training_of(lake, document["encoder_version"])
    emit(document, as_json, lambda screen: views.show_training(screen, document, training_of))


def encoder(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="VERSION", help="Use this one: a version, or `pretrained`, which PEACE ships."
        ),
    ] = None,
    home: Home = None,
    wide: Wide = False,
    as_json: AsJson = False,
) -> None:
    """List the encoders that the lake can use, or use another one; `peace run` then embeds every network anew.

    With --json a list of {version, current, shipped, networks, validation_map}.
    """
    from peace_pipeline.encoder import store

    lake = existing_lake(home) if name else look_at_lake(home)
    before = store.current_version(lake)
    if name:
        store.use(lake, name)
    current = store.current_version(lake)
    rows = [
        {"version": version, "current": version == current, "shipped": version == store.packaged_version()}
        | {key: store.training_of(lake, version).get(key) for key in ("networks", "validation_map")}
        for version in store.versions(lake)
    ]
    emit(rows, as_json, lambda screen: views.show_encoders(screen, rows, used=current != before), wide=wide)


def gc(
    older_than: Annotated[
        float, typer.Option(min=0, metavar="HOURS", help="Keep what was written in the last so many hours.")
    ] = 24.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Delete nothing; say what would go.")] = False,
    home: Home = None,
    wide: Wide = False,
    as_json: AsJson = False,
) -> None:
    """Delete what nobody needs any more: superseded tables, old encoders and their embeddings, leftovers."""
    from datetime import timedelta

    from peace_pipeline.stages.collect import collect

    with working():
        garbage = collect(existing_lake(home), older_than=timedelta(hours=older_than), dry_run=dry_run)
    document = {
        "dry_run": dry_run,
        "bytes": sum(one.bytes or 0 for one in garbage),
        "garbage": [one.as_dict() for one in garbage],
    }
    emit(document, as_json, lambda screen: views.show_garbage(screen, document), wide=wide)


def _run(lake: Lake, config: str, responses: str = "") -> PassSummary:
    with working():
        from peace_pipeline.definitions import Pass, defs

        return Pass(defs, lake, config, responses).run()

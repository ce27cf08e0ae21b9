"""Commands on what the lake has: its status, its models, one of them, and leaving some out."""

from __future__ import annotations

from typing import Annotated

import typer

from peace_pipeline.cli import lake_views
from peace_pipeline.cli.options import AsJson, Home, Where, Wide, existing_lake
from peace_pipeline.cli.terminal import emit, is_terminal, working


def status(home: Home = None, wide: Wide = False, as_json: AsJson = False) -> None:
    """How the lake stands: its models, what is stale or was skipped and why, the index, the encoder, the last crawl."""
    from peace_pipeline.stages.status import lake_status

    found = lake_status(existing_lake(home))
    emit(found.as_dict(), as_json, lambda screen: lake_views.show_status(screen, found), wide=wide)


def list_models(
    where: Where = None,
    skipped: Annotated[
        bool, typer.Option("--skipped", help="Those that are left out, and why, instead.")
    ] = False,
    k: Annotated[
        int | None,
        typer.Option("-k", min=1, help="How many.", show_default="50 on a terminal, else all"),
    ] = None,
    home: Home = None,
    wide: Wide = False,
    as_json: AsJson = False,
) -> None:
    """The models that the sources have, embedded or not; or those that are left out, with the reason of each.

    With --json a list of {model_id, source, revision, status, task, datasets, architecture, library, license,
    parameters, uri, accuracy, embedded, reason}, of those left out {model_id, reason}.
    """
    if skipped and where:
        raise typer.BadParameter("--skipped lists all that are left out", param_hint="--where")
    from peace_pipeline.stages.status import present, skipped_now

    lake = existing_lake(home)
    rows = skipped_now(lake) if skipped else present(lake, where)
    most = k or (len(rows) if as_json or not is_terminal() else lake_views.SHOWN)
    view = lake_views.show_skipped if skipped else lake_views.show_models
    emit(rows[:most], as_json, lambda screen: view(screen, rows[:most], len(rows)), wide=wide)


def show(
    model_id: Annotated[str, typer.Argument(metavar="MODEL", help="A model id of the lake.")],
    k: Annotated[int, typer.Option("-k", min=1, help="How many neighbours.")] = 5,
    home: Home = None,
    wide: Wide = False,
    as_json: AsJson = False,
) -> None:
    """All that the lake knows of a model: its record, how it was read and run, neighbours, copies, origin by its card.

    `peace compare MODEL` looks for copies and origins that no card names.
    """
    from peace_pipeline.index.lookup import has_unknown_activation
    from peace_pipeline.stages.about import about

    lake = existing_lake(home)
    document = about(lake, model_id, k=k)
    is_open = not as_json and has_unknown_activation(lake, model_id)
    emit(
        document, as_json, lambda screen: lake_views.show_model(screen, document, is_open=is_open), wide=wide
    )


def forget(
    name: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE|MODEL",
            help="A model id, a kind of source, or what ids begin with: `org/`, `directory:models/`.",
        ),
    ],
    again: Annotated[
        bool, typer.Option("--again", help="Remember it instead: the next crawl finds it as new.")
    ] = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Leave a model, or all of a source, out of the index. Crawls leave it alone until it changes.

    With --json {forgotten: a list of model ids}, or {remembered}. `peace gc` deletes what was stored of them.
    """
    lake = existing_lake(home)
    with working():
        from peace_pipeline.definitions import Pass, defs

        models = Pass(defs, lake).forget(name, again=again)
    word = "remembered" if again else "forgotten"
    emit({word: models}, as_json, lambda screen: lake_views.show_forgotten(screen, name, models, again=again))

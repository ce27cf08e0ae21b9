"""Commands around the lake: a first peace.toml, and the UI."""

from __future__ import annotations

import json
import sys
import tomllib
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from peace_pipeline.cli.options import AsJson, Home, open_lake
from peace_pipeline.cli.terminal import emit

CONFIG = Path("peace.toml")
_LAST_PORT = 65535
_HEAD = """\
# What `peace run` crawls: one [[source]] table each. Paths are relative to this file.
# responses = "auto"                    # which networks are run: never, auto (what takes little), always
# batch_size = 500                      # most models of one batch
"""
_DIRECTORY = """
[[source]]
kind = "directory"                      # any tree: a folder with weights is a model, a loose weight file too
path = {}
"""
_HUB = """
[[source]]
kind = "huggingface"                    # new and changed models of the Hub, within filters
author = {}
max_parameters = 100_000_000
"""
_TRAINED = """
[[source]]
kind = "trained"                        # some 450 small networks, trained here in a few minutes
recipe = "demo"
"""
_NAMING = ("kind", "path", "author", "recipe")
_SAMPLES = (_DIRECTORY.format('"models"'), _HUB.format('"org"'), _TRAINED)


def init(
    folders: Annotated[
        list[Path] | None, typer.Argument(metavar="FOLDER…", help="Folders that hold your models.")
    ] = None,
    hub: Annotated[
        list[str] | None,
        typer.Option(
            metavar="AUTHOR", help="An author or organisation of the Hugging Face Hub; may be said again."
        ),
    ] = None,
    demo: Annotated[bool, typer.Option("--demo", help="Also networks that PEACE trains itself.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write ./peace.toml, which says where your models are; on a terminal it asks where nothing is given."""
    folders, hub = [_checked(folder) for folder in folders or []], hub or []
    if CONFIG.exists():
        missing = "".join(each for each in _sources(folders, hub, demo) if not _has(each))
        typer.echo(missing, err=True, nl=False)
        what = "add the lines above to it" if missing else "edit it"
        raise typer.BadParameter(f"is there already: {what}, or delete it first", param_hint=str(CONFIG))
    if not (folders or hub or demo) and sys.stdin.isatty() and not as_json:
        folders, hub, demo = _asked()
    chosen = _sources(folders, hub, demo)
    CONFIG.write_text(_HEAD + "".join(chosen or map(_commented, _SAMPLES)))
    then = "`peace run` crawls and embeds" if chosen else "uncomment a source in it, then `peace run`"
    emit(
        {"path": str(CONFIG.absolute()), "sources": len(chosen)},
        as_json,
        lambda screen: screen.print(
            f"{CONFIG} is written: {then}; docs/sources.md has every kind and option."
        ),
    )


def _sources(folders: list[Path], hub: list[str], demo: bool) -> list[str]:
    """What peace.toml says of each source."""
    return [
        *(_DIRECTORY.format(json.dumps(str(folder), ensure_ascii=False)) for folder in folders),
        *(_HUB.format(json.dumps(author, ensure_ascii=False)) for author in hub),
        *([_TRAINED] if demo else []),
    ]


def _has(source: str) -> bool:
    """Whether peace.toml names a source of this kind, folder, author or recipe, whatever else it says of it."""
    try:
        present = tomllib.loads(CONFIG.read_text()).get("source", [])
    except tomllib.TOMLDecodeError:
        return False
    (wanted,) = tomllib.loads(source)["source"]
    return any(all(each.get(name) == wanted.get(name) for name in _NAMING) for each in present)


def _asked() -> tuple[list[Path], list[str], bool]:
    """What a person answers."""
    folder = typer.prompt(
        "Folder of your models (empty for none)", default="", show_default=False, value_proc=_folder_or_none
    )
    author = typer.prompt("Author on the Hugging Face Hub (empty for none)", default="", show_default=False)
    demo = typer.confirm("Also some 450 small networks that PEACE trains itself?", default=False)
    return [Path(folder)] if folder else [], [author] if author else [], demo


def _folder_or_none(answer: str) -> str:
    return str(_checked(Path(answer))) if answer else ""


def _checked(folder: Path) -> Path:
    """The folder, where it is one.

    Raises:
        typer.BadParameter: where it isn't.
    """
    if not folder.expanduser().is_dir():
        raise typer.BadParameter(f"{folder} is no folder", param_hint="FOLDER")
    return folder


def _commented(source: str) -> str:
    return "".join(f"# {line}\n" if line else "\n" for line in source.split("\n")[:-1])


def ui(
    port: Annotated[int, typer.Option(min=1, max=_LAST_PORT, help="Of the lineage.")] = 3000,
    pages: Annotated[
        int | None,
        typer.Option(min=1, max=_LAST_PORT, help="Of the reports.", show_default="the next one"),
    ] = None,
    mlflow: Annotated[
        int | None,
        typer.Option(min=1, max=_LAST_PORT, help="Of MLflow.", show_default="the next one that is left"),
    ] = None,
    home: Home = None,
) -> None:
    """Serve the lineage, its runs, checks and plots on http://127.0.0.1:PORT, the reports and MLflow beside it."""
    beside = chain(range(port + 1, _LAST_PORT + 1), range(port - 1, 0, -1))
    free = (number for number in beside if number not in (pages, mlflow))
    ports = port, pages or next(free), mlflow or next(free)
    if len(set(ports)) < len(ports):
        raise typer.BadParameter("the lineage, the reports and MLflow need a port each", param_hint="--port")
    from peace_pipeline.resources.webserver import serve

    serve(open_lake(home), *ports, lambda line: typer.echo(line, err=True))

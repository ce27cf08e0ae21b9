"""How the command line shows things: tables, one JSON document, progress on stderr."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TextIO

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from peace_pipeline.progress import Progress, in_lines, listening

_REASON, _ID = 40, 32
_NUMBERS = ("rank", "similarity", "parameters", "size")
_FRAME = "│ "


def emit(document: Any, as_json: bool, show: Callable[[Console], None]) -> None:
    """Print ``document`` as JSON on stdout, or let ``show`` print it for people."""
    if as_json:
        typer.echo(json.dumps(document))
    else:
        show(_Screen(markup=False, emoji=False))


class _Screen(Console):
    """Prints strings as they are: what a file names is neither markup nor a command to the terminal."""

    def render_str(self, text: str, **options: Any) -> Text:
        """See :meth:`Console.render_str`."""
        return super().render_str("\n".join(map(_visible, text.split("\n"))), **options)


def _visible(text: str) -> str:
    """Text with characters that a terminal obeys or doesn't show as escapes (``\\x1b``)."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def table(title: str, columns: Iterable[str], rows: Iterable[Iterable[object]]) -> Table:
    """A table for people; ``None`` is left empty, cosines and other fractions get four digits."""
    shown, columns = Table(title=title, title_justify="left"), list(columns)
    cells = [list(map(_cell, row)) for row in rows]
    for number, column in enumerate(columns):
        widest = max((len(row[number]) for row in cells), default=0)
        whole = column in _NUMBERS or (column == "model_id" and "reason" not in columns and widest <= _ID)
        shown.add_column(
            column,
            overflow="fold",
            no_wrap=whole,
            justify="right" if column in _NUMBERS else "left",
            min_width=_REASON if column == "reason" else max(widest, len(column)) if whole else None,
        )
    for row in cells:
        shown.add_row(*row)
    return shown


def columns(rows: Iterable[tuple[str, str]], width: int) -> Iterator[Text]:
    """Text in two columns, a line each, in ``width`` characters; a frame (│) on the left goes on where lines break."""
    rows = [(_visible(text), more) for text, more in rows]
    left = max((len(text) for text, _ in rows if len(text) <= 0.6 * width), default=0)
    for text, more in rows:
        inner = text.lstrip(_FRAME)
        frame, style = text[: len(text) - len(inner)], "bold" if inner.startswith("●") else ""
        after = textwrap.wrap(more, width - left - 2) or [""]
        if len(text) <= left:
            yield Text(f"{text:{left}}  {after.pop(0)}".rstrip(), style)
        else:
            yield from (
                Text(part, style) for part in textwrap.wrap(text, width, subsequent_indent=f"{frame}    ")
            )
        yield from (Text(f"{frame:{left}}  {part}", style) for part in filter(None, after))


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(value)


@contextlib.contextmanager
def working() -> Iterator[None]:
    """While a command works: progress bars on stderr (a line now and then, where that is no terminal), whatever
    libraries print goes there too, and no chatter."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    _quiet()
    terminal = _terminal()
    bars = Bars(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
        console=Console(file=terminal),
    )
    bars.disable = not bars.console.is_terminal
    tasks: dict[str, Any] = {}

    def begin(description: str) -> Progress:
        if bars.disable:
            return in_lines(description, lambda line: print(line, file=terminal, flush=True))
        if description in tasks:
            bars.reset(tasks[description], total=None, note="")
        else:
            tasks[description] = bars.add_task(description, total=None, note="")

        def report(done: int, total: int, note: str = "") -> None:
            bars.update(tasks[description], completed=done, total=total or None, note=note)

        return report

    with bars, contextlib.redirect_stdout(sys.stderr), listening(begin):
        yield


def _terminal() -> TextIO:
    """Standard error as it is now: after an interrupt the original is silent, and bars have yet to be put away."""
    try:
        return os.fdopen(os.dup(sys.stderr.fileno()), "w")
    except (OSError, ValueError):
        return sys.stderr


def _quiet() -> None:
    """Keep libraries from telling what nobody asked; set before they are imported."""
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("lightning.pytorch.loggers.mlflow").setLevel(logging.ERROR)
    logging.getLogger("mlflow.pytorch").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    os.environ.setdefault("PYTHONWARNINGS", "ignore")  # of processes beside this one

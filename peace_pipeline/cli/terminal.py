"""How the command line shows things: tables, one JSON document, progress on stderr."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TextIO

import typer
from rich.console import Console
from rich.text import Text

from peace_pipeline.cli.table import Column, facts, note, table, visible
from peace_pipeline.progress import Progress, in_lines, listening

if TYPE_CHECKING:
    from rich.progress import Progress as Bars

_FRAME = "│ "
_UNBOUNDED = 100_000


def emit(document: Any, as_json: bool, show: Callable[[Screen], None], *, wide: bool = False) -> None:
    """Print ``document`` as JSON on stdout, or let ``show`` print it for people.

    On a terminal what is shown has its width, unless it is to be ``wide``; elsewhere lines are as long as they are.
    """
    if as_json:
        try:
            typer.echo(json.dumps(document))
        except BrokenPipeError:
            Console().on_broken_pipe()  # as what is shown ends: without a word, exit code 1
    else:
        show(Screen(wide=wide))


def is_terminal() -> bool:
    """Whether a person sees what is written to standard output."""
    return sys.stdout is not None and sys.stdout.isatty()


class Screen(Console):
    """Prints strings as they are: what a file names is neither markup nor a command to the terminal."""

    def __init__(self, *, wide: bool = False) -> None:
        super().__init__(markup=False, emoji=False, highlight=False)
        self.is_bounded = is_terminal() and not wide
        if not self.is_bounded:
            self.width = _UNBOUNDED

    def render_str(self, text: str, **options: Any) -> Text:
        """See :meth:`Console.render_str`."""
        return super().render_str("\n".join(map(visible, text.split("\n"))), **options)

    def table(self, title: str, columns: Sequence[Column | str], rows: Iterable[Sequence[object]]) -> None:
        """Print a table; a column that is given by its name alone is one of words."""
        described = [Column(one) if isinstance(one, str) else one for one in columns]
        for line in table(title, described, rows, self.width if self.is_bounded else None):
            self.print(line, soft_wrap=True)

    def note(self, text: str) -> None:
        """Print what is to be known of the table above."""
        for line in note(text, self.width if self.is_bounded else None):
            self.print(line, soft_wrap=True)

    def facts(self, title: str, rows: Iterable[tuple[str, object]]) -> None:
        """Print what is known of something, a line each; what is empty is left out."""
        self.print(title, style="bold", soft_wrap=True)
        for line in facts(rows, self.width if self.is_bounded else None):
            self.print(line, soft_wrap=True)


def columns(rows: Iterable[tuple[str, str]], width: int) -> Iterator[Text]:
    """Text in two columns, a line each, in ``width`` characters; a frame (│) on the left goes on where lines break."""
    rows = [(visible(text), more) for text, more in rows]
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


@contextlib.contextmanager
def working() -> Iterator[None]:
    """While a command works: progress bars on stderr (a line now and then, where that is no terminal), whatever
    libraries print goes there too, and no chatter."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as RichBars

    _quiet()
    terminal = _terminal()
    bars = RichBars(
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
        put_away(bars)
        if description in tasks:
            bars.remove_task(tasks[description])
        tasks[description] = bars.add_task(description, total=None, note="")

        def report(done: int, total: int, note: str = "") -> None:
            task = next(task for task in bars.tasks if task.id == tasks[description])
            task.stop_time = None  # work that another one interrupted goes on
            bars.update(task.id, completed=done, total=total or None, note=note, visible=True)

        return report

    with bars, contextlib.redirect_stdout(sys.stderr), listening(begin):
        try:
            yield
        finally:
            put_away(bars)


def put_away(bars: Bars) -> None:
    """Stop the clocks of work that is over, and hide what had nothing to do."""
    for task in bars.tasks:
        bars.stop_task(task.id)
        if not task.completed:
            bars.update(task.id, visible=False)


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

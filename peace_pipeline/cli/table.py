"""The one way in which a table is shown: aligned text without lines, in the width that there is.

Columns come in the order of their importance. One that is empty is left out, one that says the same of every row is
said once below. Where there is too little room ids are shortened in the middle, words at their end, the last columns
are left out, and it is said what to do. Without a width (``--wide``, or no terminal) everything is whole.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.text import Text

_GAP, _INDENT = 2, 2
_LEAST = {"id": 36, "word": 12, "prose": 28}
"""Characters that a cell of a kind has at least, before columns are left out for want of room."""
_SHORTEST = 12


@dataclass(frozen=True)
class Column:
    """A column: of an ``id``, ``number``, ``word`` or ``prose``, which breaks into lines; an ``optional`` one is left
    out where there is no room."""

    name: str
    kind: Literal["id", "number", "word", "prose"] = "word"
    optional: bool = False

    @property
    def is_said_once(self) -> bool:
        """Whether it is said below the table where it is the same in all rows."""
        return self.kind == "word" or (self.kind == "number" and self.optional)


@dataclass
class _Laid:
    column: Column
    cells: list[str]
    width: int = 0

    @property
    def natural(self) -> int:
        return max(len(self.column.name), *map(len, self.cells)) if self.cells else len(self.column.name)

    @property
    def least(self) -> int:
        return max(len(self.column.name), min(self.natural, _LEAST.get(self.column.kind, self.natural)))


def table(
    title: str, columns: Sequence[Column], rows: Iterable[Sequence[object]], width: int | None = None
) -> Iterator[Text]:
    """Lines of a table in ``width`` characters; ``None`` is left empty, fractions get four digits."""
    cells = [[cell(value) for value in row] for row in rows]
    laid = [_Laid(column, [row[place] for row in cells]) for place, column in enumerate(columns)]
    laid = [one for one in laid if any(one.cells)]
    said = [one for one in laid if len(cells) > 1 and one.column.is_said_once and len(set(one.cells)) == 1]
    laid = [one for one in laid if one not in said]
    left = list(_leave_out(laid, width))
    _widen(laid, width)
    cut = [one for one in laid if one.column.kind in ("id", "word") and one.natural > one.width]
    if title:
        yield Text(title, "bold")
    yield Text(_line([(one.column.name, one) for one in laid]), "dim")
    for number in range(len(cells)):
        broken = [_broken(one.cells[number], one) for one in laid]
        for line in range(max(map(len, broken), default=0)):
            parts = [
                (each[line] if line < len(each) else "", one) for each, one in zip(broken, laid, strict=True)
            ]
            yield Text(_line(parts))
    notes = [f"all: {', '.join(f'{one.column.name} {one.cells[0]}' for one in said)}"] if said else []
    if left or cut:
        hidden = [f"without {', '.join(one.column.name for one in reversed(left))}"] if left else []
        hidden += [f"{', '.join(one.column.name for one in cut)} shortened"] if cut else []
        notes.append(f"{'; '.join(hidden)}: --wide shows all")
    for each in notes:
        yield from note(each, width)


def note(text: str, width: int | None = None) -> Iterator[Text]:
    """Lines below a table."""
    for part in _wrapped(text, width and width - _INDENT):
        yield Text(f"{' ' * _INDENT}{part}", "dim")


def facts(rows: Iterable[tuple[str, object]], width: int | None = None) -> Iterator[Text]:
    """Lines that say what is known, a name and a value each; what is empty is left out."""
    told = [(name, cell(value)) for name, value in rows if value not in (None, "", [], ())]
    left = max((len(name) for name, _ in told), default=0)
    for name, value in told:
        lines = _wrapped(value, width and width - left - _INDENT - _GAP)
        for number, line in enumerate(lines or [""]):
            yield Text(" " * _INDENT) + Text(f"{'' if number else name:{left + _GAP}}", "dim") + Text(line)


def cell(value: object) -> str:
    """A value as a table shows it."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4f}" if math.isfinite(value) else str(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, list | tuple):
        return visible(", ".join(map(str, value)))
    return visible(str(value))


def visible(text: str) -> str:
    """Text with characters that a terminal obeys or doesn't show as escapes (``\\x1b``)."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def shortened(text: str, width: int) -> str:
    """Text that is too long without its middle: the ends of ids tell them apart."""
    if len(text) <= width:
        return text
    head = (width - 1) // 2
    return f"{text[:head]}…{text[len(text) - (width - 1 - head) :]}"


def _leave_out(laid: list[_Laid], width: int | None) -> Iterator[_Laid]:
    """Take out the last optional columns that there is no room for."""
    while width and sum(one.least + _GAP for one in laid) - _GAP + _INDENT > width:
        optional = [one for one in laid if one.column.optional]
        if not optional:
            return
        laid.remove(optional[-1])
        yield optional[-1]


def _widen(laid: list[_Laid], width: int | None) -> None:
    """Give every column its width: what it needs at least, and what is left in the order of the columns."""
    if width is None:
        for one in laid:
            one.width = one.natural
        return
    for one in laid:
        one.width = one.least
    free = width - _INDENT - sum(one.width + _GAP for one in laid) + _GAP
    for one in sorted(laid, key=lambda one: one.column.kind != "id") if free >= 0 else reversed(laid):
        if free >= 0:
            more = min(free, one.natural - one.width)
        elif one.column.kind == "number":
            more = 0
        else:
            more = max(free, min(0, _SHORTEST - one.width))
        one.width += more
        free -= more


def _broken(text: str, one: _Laid) -> list[str]:
    """A cell in lines that its column has room for."""
    if one.column.kind == "prose":
        return textwrap.wrap(text, one.width) or [""]
    if one.column.kind == "id":
        return [shortened(text, one.width)]
    return [text if len(text) <= one.width else f"{text[: one.width - 1]}…"]


def _line(parts: Sequence[tuple[str, _Laid]]) -> str:
    placed = [
        text.rjust(one.width) if one.column.kind == "number" else text.ljust(one.width) for text, one in parts
    ]
    return (" " * _INDENT + (" " * _GAP).join(placed)).rstrip()


def _wrapped(text: str, width: int | None) -> list[str]:
    if not width:
        return [text]
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)

"""Pages as Markdown: their words and tables, for terminals, documents and whoever reads no HTML."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html import escape

from peace_pipeline.evaluation.page import Cell, Faults, Figure, Page, Section, Table

_SPECIAL = str.maketrans({character: f"\\{character}" for character in r"\`*_[]|#"})
_CODE = re.compile(r"(`[^`|]+`)")


def render(title: str, page: Page, command: str = "") -> str:
    """The page's text and tables; of a plot its caption, of a folded table its title alone. ``command`` makes it
    again."""
    facts = " · ".join(f"{name}: {value}" for name, value in page.facts.items())
    blocks = [
        f"# {_text(title)}",
        *(["**Where PEACE does not win**", _items(page.losses)] if page.losses else []),
        _text(page.summary),
        _text(facts),
        *(f"`{line}`" for line in [command] if line),
        *(block for section in page.sections for block in _section(section)),
        *(["## How this was measured", *map(_text, page.method)] if page.method else []),
        *(["## What to keep in mind", _items(page.caveats)] if page.caveats else []),
    ]
    return "\n\n".join(block for block in blocks if block) + "\n"


def _section(section: Section) -> Iterator[str]:
    yield f"## {_text(section.title)}"
    for part in section.parts:
        if isinstance(part, Table):
            yield f"*{_text(part.folded)}*" if part.folded else _table(part)
        elif isinstance(part, Figure):
            yield f"*Plot: {_text(part.caption)}*"
        elif isinstance(part, Faults):
            yield _items(part.lines)
        else:
            yield _text(part)


def _table(table: Table) -> str:
    rows = [_row(row, bold=row[0] == table.lead) for row in table.rows]
    return "\n".join([_row(table.names), "|---" * len(table.header) + "|", *rows])


def _row(cells: Sequence[str | Cell], *, bold: bool = False) -> str:
    texts = [_cell(cell) for cell in cells]
    if bold:
        texts[0] = f"**{texts[0]}**"
    return f"| {' | '.join(texts)} |"


def _cell(cell: str | Cell) -> str:
    if isinstance(cell, str):
        return _text(cell)
    mark = "" if cell.passed is None else " ✓" if cell.passed else " ✗"
    note = f" ({cell.note})" if cell.note else ""
    return _text(cell.text + note) + mark


def _items(lines: Sequence[str]) -> str:
    return "\n".join(f"- {_text(line)}" for line in lines)


def _text(text: str) -> str:
    """As Markdown that shows just these characters, on one line; what stands between ticks is code."""
    parts = _CODE.split(" ".join(text.split()))
    return "".join(part if place % 2 else _plain(part) for place, part in enumerate(parts))


def _plain(text: str) -> str:
    return escape(text.translate(_SPECIAL), quote=False)

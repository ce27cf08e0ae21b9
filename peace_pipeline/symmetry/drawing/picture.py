"""A wiring as a picture (SVG): a box and a line for each group, an arrow for each layer, repeated blocks in frames."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path

from peace_pipeline.lake import atomic
from peace_pipeline.symmetry.drawing.outline import (
    MEANINGS,
    Block,
    Step,
    nature,
    remarks,
    shape,
    short,
    size,
    steps,
)
from peace_pipeline.symmetry.wiring.types import FIXED, INDEPENDENT, PERMUTABLE, Group, WiredLayer, Wiring

_COLOURS = {PERMUTABLE: "#1a7f5a", FIXED: "#5b6472", INDEPENDENT: "#b26b00"}
_PITCH, _BOX, _HEIGHT, _ROW, _TOP, _LEFT = 250, 216, 44, 30, 60, 136
_LETTERS = 28
"""How many fit into a box."""
_STYLE = """\
text{font:12px system-ui,sans-serif;fill:#1d2430}
.name{font-weight:600}.small{font-size:10.5px;fill:#5b6472}.frame{fill:#f3f5f9;stroke:#aeb6c4;stroke-dasharray:5 4}
.life{stroke-width:2;opacity:.35}.arrow{stroke:#1d2430;stroke-width:1.4;fill:none}
.along{stroke:#aeb6c4;stroke-dasharray:3 3}
.label{paint-order:stroke;stroke:#fff;stroke-width:4px;stroke-linejoin:round}.in .label{stroke:#f3f5f9}
g.layer:hover .arrow{stroke:#c2410c;stroke-width:2.4}g.layer:hover text{fill:#c2410c}g.group:hover rect{stroke-width:3}
"""


def draw(wiring: Wiring, path: Path, title: str, reason: str) -> None:
    """Write the picture of a wiring to an .svg or .html file; the pointer on a group or layer tells more of it.

    Raises:
        OSError: where it can't be written.
    """
    picture = svg(wiring)
    page = (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        "<style>body{font:14px system-ui,sans-serif;margin:24px;color:#1d2430}</style></head><body>"
        f"<h1>{escape(title)}</h1><p>Read as {escape(f'{wiring.summary}: {reason}')}.</p>"
        f"{picture}</body></html>\n"
    )
    with atomic(path) as temporary:
        temporary.write_text(picture if path.suffix.lower() == ".svg" else page)


def svg(wiring: Wiring) -> str:
    """The picture of a wiring, from its inputs at the top to its outputs."""
    layout = _Layout(steps(wiring))
    width, height = layout.width, layout.height
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}"><style>{_STYLE}</style>'
        '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" '
        'orient="auto-start-reverse"><path d="M0 0 10 5 0 10z" fill="#1d2430"/></marker></defs>'
        f'<rect width="{width}" height="{height}" fill="#fff"/>{_legend()}{"".join(layout.drawn())}</svg>\n'
    )


def _legend() -> str:
    kinds = "".join(
        f'<rect x="{16 + 110 * place}" y="14" width="12" height="12" rx="3" fill="{colour}"/>'
        f'<text x="{34 + 110 * place}" y="24">{kind}</text>'
        for place, (kind, colour) in enumerate(_COLOURS.items())
    )
    said = "box and line: a group of neurons · arrow: a layer, from what it reads to what it writes"
    return f'{kinds}<text x="16" y="44" class="small">{said} · dashes: moves along</text>'


@dataclass(frozen=True)
class _Row:
    """A group's box, a layer's arrow, or the beginning of a block; ``y`` is its middle."""

    of: Group | WiredLayer | Block
    prefix: str
    depth: int
    y: int


class _Layout:
    """Where everything stands: rows from top to bottom; a column for each group, free again below its last row."""

    def __init__(self, drawn: Iterable[Step]) -> None:
        self._y = _TOP
        self._rows: list[_Row] = []
        self._ends: dict[int, int] = {}
        """Row of a block → where its frame ends."""
        self._alike: dict[str, str] = {}
        self._place(drawn, "", 0)
        self._last = {name: row.y + _ROW // 4 for row in self._rows for name in self._touched(row.of)}
        self._columns = self._allotted()
        self.height = self._y + 24
        self.width = _LEFT + _PITCH * max(self._columns.values()) + _BOX

    def _place(self, drawn: Iterable[Step], prefix: str, depth: int) -> None:
        for step in drawn:
            if isinstance(step, Block):
                self._add(step, prefix, depth, 30)
                place = len(self._rows) - 1
                self._place(step.steps, step.prefix, depth + 1)
                self._alike |= step.alike
                self._ends[place] = self._y
                self._y += 12
            elif isinstance(step, WiredLayer):
                self._add(step, prefix, depth, _ROW)
            elif not step.again:
                self._add(step.group, prefix, depth, _HEIGHT + 12)

    def _add(self, of: Group | WiredLayer | Block, prefix: str, depth: int, height: int) -> None:
        self._rows.append(_Row(of, prefix, depth, self._y + height // 2))
        self._y += height

    def _touched(self, of: Group | WiredLayer | Block) -> list[str]:
        if isinstance(of, Group):
            return [of.name, *([self._group(of.along)] if of.along else [])]
        return [self._group(axis.group) for axis in of.axes] if isinstance(of, WiredLayer) else []

    def _group(self, name: str) -> str:
        """The group that is drawn in the place of one in a later part of a block."""
        while name in self._alike:
            name = self._alike[name]
        return name

    def _allotted(self) -> dict[str, int]:
        columns: dict[str, int] = {}
        free_from: list[int] = []
        """Column → below which y nothing is in it."""
        for row in self._rows:
            if isinstance(row.of, Group):
                column = next((at for at, y in enumerate(free_from) if y < row.y), len(free_from))
                free_from[column : column + 1] = [self._last[row.of.name]]
                columns[row.of.name] = column
        return columns

    def _x(self, name: str) -> int:
        return _LEFT + _PITCH * self._columns[self._group(name)]

    def drawn(self) -> Iterator[str]:
        """The parts of the picture, from back to front."""
        yield from (self._frame(place) for place in self._ends)
        groups = [row for row in self._rows if isinstance(row.of, Group)]
        yield from (self._life(row.of, row.y) for row in groups if isinstance(row.of, Group))
        yield from (self._arrow(row, row.of) for row in self._rows if isinstance(row.of, WiredLayer))
        yield from (self._box(row, row.of) for row in groups if isinstance(row.of, Group))

    def _frame(self, place: int) -> str:
        row, end = self._rows[place], self._ends[place]
        assert isinstance(row.of, Block)
        x, y = 8 + 8 * row.depth, row.y - 12
        title = f"{short(row.of.names, row.prefix)}: {row.of.times} times"
        return (
            f'<rect class="frame" x="{x}" y="{y}" width="{self.width - 2 * x}" height="{end + 6 - y}" rx="8"/>'
            f'<text class="name" x="{x + 10}" y="{row.y + 6}">{escape(title)}</text>'
        )

    def _life(self, group: Group, y: int) -> str:
        x, colour = self._x(group.name), _COLOURS[group.kind]
        line = (
            f'<line class="life" x1="{x}" y1="{y}" x2="{x}" y2="{self._last[group.name]}" stroke="{colour}"/>'
        )
        if group.along:
            line += f'<line class="along" x1="{self._x(group.along)}" y1="{y}" x2="{x}" y2="{y}"/>'
        return line

    def _box(self, row: _Row, group: Group) -> str:
        x, y = self._x(group.name) - _BOX // 2, row.y - _HEIGHT // 2
        meanings = [f"{action}: {MEANINGS[action]}" for action in group.actions]
        told = "\n".join([group.name, f"{size(group)}, {group.kind}", nature(group), *meanings])
        name, more = short(group.name, row.prefix), f"{size(group)}  {nature(replace(group, along=None))}"
        name = name if len(name) <= _LETTERS else f"…{name[1 - _LETTERS :]}"
        return (
            f'<g class="group"><title>{escape(told)}</title><rect x="{x}" y="{y}" width="{_BOX}" '
            f'height="{_HEIGHT}" rx="6" fill="#fff" stroke="{_COLOURS[group.kind]}" stroke-width="1.6"/>'
            f'<text class="name" x="{x + 8}" y="{y + 18}">{escape(name)}</text>'
            f'<text class="small" x="{x + 8}" y="{y + 34}">{escape(more[:_LETTERS])}</text></g>'
        )

    def _arrow(self, row: _Row, wired: WiredLayer) -> str:
        y, end = row.y + _ROW // 4, self._x(wired.out.group)
        start = self._x(wired.into.group) if wired.into else end
        if start == end:
            line, x = f"M{end} {y - 12}C{end + 56} {y - 12} {end + 56} {y} {end + 3} {y}", end + 50
        else:
            line, x = f"M{start} {y}H{end + (3 if start > end else -3)}", min(start, end) + 10
        more = f"{shape(wired)}  {remarks(wired)}".rstrip()
        tensors = [name for layer in wired.every for name in layer.tensors.values()]
        told = "\n".join([wired.layer.name, f"{wired.layer.kind} {shape(wired)}", remarks(wired), *tensors])
        return (
            f'<g class="layer{" in" if row.depth else ""}"><title>{escape(told)}</title>'
            f'<path class="arrow" d="{line}" marker-end="url(#tip)"/><text class="label" x="{x}" y="{y - 6}">'
            f'{escape(short(wired.layer.name, row.prefix))} <tspan class="small">{escape(more)}</tspan></text></g>'
        )

"""Tables of figures: a row a method, with the paired difference to PEACE; as JSON and as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .scoring import Figure

Cells = dict[str, dict[str, Figure]]


@dataclass(frozen=True)
class Table:
    """``cells`` is method → column → figure, ``leads`` how much better PEACE (or one sense of it) does, by the same
    names."""

    title: str
    cells: Cells
    leads: Cells = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            "title": self.title,
            "figures": _dicts(self.cells),
            "peace_leads_by": _dicts(self.leads),
        }

    def markdown(self) -> str:
        """As a Markdown table: means with intervals over items, and PEACE's lead in parentheses."""
        columns = list(dict.fromkeys(column for row in self.cells.values() for column in row))
        lines = [f"### {self.title}", ""]
        lines += [f"| | {' | '.join(columns)} |", f"|---|{'---|' * len(columns)}"]
        for method, row in self.cells.items():
            leads = self.leads.get(method, {})
            cells = [_cell(row.get(column), leads.get(column)) for column in columns]
            lines.append(f"| {method} | {' | '.join(cells)} |")
        return "\n".join([*lines, ""])


def _dicts(cells: Mapping[str, Mapping[str, Figure]]) -> dict[str, dict[str, object]]:
    return {name: {column: one.as_dict() for column, one in row.items()} for name, row in cells.items()}


def _cell(figure: Figure | None, lead: Figure | None) -> str:
    if figure is None or not figure.count:
        return "–"
    text = number(figure.mean)
    if figure.high > figure.low:
        text += f" [{number(figure.low)}, {number(figure.high)}]"
    if len(figure.seeds) > 1:
        text += f" ±{number((max(figure.seeds) - min(figure.seeds)) / 2)}"
    return f"{text} ({lead.mean:+.3f} [{lead.low:+.3f}, {lead.high:+.3f}])" if lead else text


def number(value: float) -> str:
    """Three digits, and no zero before the point."""
    if abs(value) >= 10:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) < 0.001 else f"{value:.3f}".replace("0.", ".", 1)

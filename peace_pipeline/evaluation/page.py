"""Self-contained HTML pages: text, tables and plotly figures in one file that asks the network for nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'
INK, MUTED, ACCENT, PALE, WARM = "#1d2733", "#5d6b7a", "#0b6e8f", "#b9c6d2", "#d9a441"
PALETTE = (
    "#0b6e8f",
    "#d9822b",
    "#5b8c3e",
    "#8a4f9e",
    "#c0453f",
    "#3f6fc0",
    "#8c7a3e",
    "#4aa39a",
    "#a0a7ae",
    "#7a2f5d",
)
_STYLE = f"""
:root {{ color-scheme: light }}
body {{ margin: 0; background: #f6f8fa; color: {INK}; font: 16px/1.55 {FONT} }}
main {{ max-width: 72rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem }}
h1 {{ font-size: 1.9rem; margin: 0 0 .6rem }}
h2 {{ font-size: 1.25rem; margin: 0 0 .5rem }}
p {{ margin: .4rem 0 .8rem; max-width: 60rem }}
.summary {{ font-size: 1.1rem }}
.facts {{ display: flex; flex-wrap: wrap; gap: .4rem 1.8rem; margin: 1.2rem 0 1.6rem; padding: 0 }}
.facts div {{ color: {MUTED}; font-size: .85rem }}
.facts b {{ display: block; color: {INK}; font-size: 1.15rem; font-weight: 600 }}
section {{ background: #fff; border: 1px solid #e1e7ec; border-radius: 10px; padding: 1.2rem 1.4rem; margin: 1.2rem 0 }}
.scroll {{ overflow-x: auto }}
table {{ border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums }}
th, td {{ text-align: right; padding: .36rem .5rem; border-bottom: 1px solid #e9eef2; white-space: nowrap }}
th {{ color: {MUTED}; font-weight: 600; vertical-align: bottom; white-space: normal }}
th:first-child, td:first-child {{ text-align: left }}
tr.lead td {{ font-weight: 600; color: {ACCENT} }}
small {{ color: {MUTED}; font-weight: 400 }}
.pass {{ color: #2c7a3f }} .fail {{ color: #b3261e; font-weight: 600 }}
"""


@dataclass(frozen=True)
class Html:
    """A piece of a page that is HTML already."""

    text: str


@dataclass(frozen=True)
class Section:
    """A part of a page: paragraphs (plain text), tables (HTML) and figures, in their order."""

    title: str
    parts: Sequence[str | Html | go.Figure]


def build_page(title: str, summary: str, facts: dict[str, str], sections: Iterable[Section]) -> str:
    """A whole page; ``facts`` are short values under their names, shown below the summary."""
    listed = "".join(f"<div><b>{escape(value)}</b>{escape(name)}</div>" for name, value in facts.items())
    body = "".join(_section(place, section) for place, section in enumerate(sections))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escape(title)}</title><link rel="icon" href="data:,"><style>{_STYLE}</style>'
        f"<script>{get_plotlyjs()}</script></head><body><main><h1>{escape(title)}</h1>"
        f'<p class="summary">{escape(summary)}</p><div class="facts">{listed}</div>{body}'
        "</main></body></html>\n"
    )


def table(header: Sequence[str], rows: Iterable[Sequence[str | Html]], lead: str | None = None) -> Html:
    """A table; the row whose first cell is ``lead`` stands out."""
    head = "".join(f"<th>{escape(name)}</th>" for name in header)
    body = "".join(
        f"<tr{' class=lead' if row[0] == lead else ''}>"
        + "".join(f"<td>{_html(cell)}</td>" for cell in row)
        + "</tr>"
        for row in rows
    )
    return Html(
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def verdict(text: str, passed: bool) -> Html:
    """A value with its mark for pass or fail."""
    return Html(
        f'<span class="{"pass" if passed else "fail"}">{escape(text)} {"✓" if passed else "✗"}</span>'
    )


def styled(figure: go.Figure, height: int) -> go.Figure:
    """The look that all figures share."""
    figure.update_layout(
        template="plotly_white",
        height=height,
        font={"family": FONT, "size": 13, "color": INK},
        margin={"l": 10, "r": 10, "t": 30, "b": 10},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        hoverlabel={"font": {"family": FONT}},
    )
    figure.update_xaxes(automargin=True)
    figure.update_yaxes(automargin=True)
    return figure


def _section(place: int, section: Section) -> str:
    parts = "".join(_part(f"figure-{place}-{i}", part) for i, part in enumerate(section.parts))
    return f"<section><h2>{escape(section.title)}</h2>{parts}</section>"


def _part(name: str, part: str | Html | go.Figure) -> str:
    if isinstance(part, go.Figure):
        return part.to_html(
            full_html=False,
            include_plotlyjs=False,
            div_id=name,
            config={"displayModeBar": False, "responsive": True},
        )
    return part.text if isinstance(part, Html) else f"<p>{escape(part)}</p>"


def _html(cell: str | Html) -> str:
    return cell.text if isinstance(cell, Html) else escape(cell)

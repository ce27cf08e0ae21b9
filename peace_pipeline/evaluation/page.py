"""Self-contained HTML pages: text, tables and plotly figures in one file that asks the network for nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from peace_pipeline.evaluation.look import ACCENT, FONT, INK, MUTED


@dataclass(frozen=True)
class Cell:
    """A value in a table, with a small note below it, marked as passed or failed, on a coloured ground (CSS)."""

    text: str
    note: str = ""
    passed: bool | None = None
    fill: str = ""


@dataclass(frozen=True)
class Table:
    """A table; the row whose first cell is ``lead`` stands out.

    ``above`` are titles over so many columns each, after the first one.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]
    lead: str = ""
    above: Sequence[tuple[str, int]] = ()


@dataclass(frozen=True)
class Faults:
    """A list of what is wrong."""

    lines: Sequence[str]


@dataclass(frozen=True)
class Section:
    """A part of a page: paragraphs (plain text), tables, lists of faults and figures, in their order."""

    title: str
    parts: Sequence[str | Table | Faults | go.Figure]


@dataclass(frozen=True)
class Page:
    """What a page says: a summary, short ``facts`` under their names, and sections."""

    summary: str
    facts: Mapping[str, str]
    sections: Sequence[Section]


def render(title: str, page: Page) -> str:
    """The page as HTML."""
    environment = Environment(
        loader=PackageLoader("peace_pipeline.evaluation"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.tests |= {
        "figure": lambda part: isinstance(part, go.Figure),
        "table": lambda part: isinstance(part, Table),
    }
    return environment.get_template("page.html").render(
        title=title,
        page=page,
        plot=_plot,
        plotly=Markup(get_plotlyjs()),
        font=FONT,
        ink=INK,
        muted=MUTED,
        accent=ACCENT,
    )


def _plot(figure: go.Figure, name: str) -> Markup:
    html = figure.to_html(
        full_html=False,
        include_plotlyjs=False,
        div_id=name,
        config={"displayModeBar": False, "responsive": True},
    )
    return Markup(html)

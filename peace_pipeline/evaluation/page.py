"""Self-contained HTML pages: text, tables and plotly figures in one file that asks the network for nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import plotly.graph_objects as go
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup, escape
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

    ``above`` are titles over so many columns each, after the first one. One that is ``folded`` shows these words, and
    unfolds when they are clicked.
    """

    header: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]
    lead: str = ""
    above: Sequence[tuple[str, int]] = ()
    folded: str = ""

    @property
    def names(self) -> list[str]:
        """What each column is called where it stands alone: its title, and the one above it."""
        titles = ["", *(f"{title}, " for title, span in self.above for _ in range(span))]
        titles += [""] * (len(self.header) - len(titles))
        return [title + name for title, name in zip(titles, self.header, strict=True)]


@dataclass(frozen=True)
class Faults:
    """A list of what is wrong."""

    lines: Sequence[str]


@dataclass(frozen=True)
class Figure:
    """A plot, and what it shows in words: its caption, which a screen reader says in its place."""

    plot: go.Figure
    caption: str


@dataclass(frozen=True)
class Section:
    """A part of a page: paragraphs (plain text with `code`), tables, lists of faults and figures, in their order."""

    title: str
    parts: Sequence[str | Table | Faults | Figure]


@dataclass(frozen=True)
class Page:
    """What a page says: a summary, short ``facts`` under their names (the seed among them), and sections.

    ``losses`` are sentences on where another method does better, which the page says first; ``method`` and
    ``caveats`` are paragraphs that it ends with.
    """

    summary: str
    facts: Mapping[str, str]
    sections: Sequence[Section]
    losses: Sequence[str] = ()
    method: Sequence[str] = ()
    caveats: Sequence[str] = ()


@dataclass(frozen=True)
class Entry:
    """A report in the list of reports; ``name`` is that of its folder, ``created_at`` is ISO 8601."""

    name: str
    title: str
    created_at: str
    summary: str = ""
    losses: Sequence[str] = ()
    headline: Mapping[str, float] = field(default_factory=dict)


def render(title: str, page: Page, command: str = "") -> str:
    """The page as HTML; ``command`` makes it again."""
    return _template("page.html").render(
        title=title, page=page, command=command, plot=_plot, plotly=Markup(get_plotlyjs()), **_LOOK
    )


def render_contents(title: str, summary: str, entries: Sequence[Entry], atlas: str = "") -> str:
    """The page that lists reports, as HTML; ``atlas`` is the relative address of the atlas, where there is one."""
    return _template("contents.html").render(
        title=title, summary=summary, entries=entries, atlas=atlas, **_LOOK
    )


_LOOK = {"font": FONT, "ink": INK, "muted": MUTED, "accent": ACCENT}


def _template(name: str) -> Template:
    environment = Environment(
        loader=PackageLoader("peace_pipeline.evaluation"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters["marked"] = _marked
    environment.tests |= {
        "figure": lambda part: isinstance(part, Figure),
        "table": lambda part: isinstance(part, Table),
    }
    return environment.get_template(name)


def _marked(text: str) -> Markup:
    """Plain text, with `code` between backticks."""
    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _plot(figure: go.Figure, name: str) -> Markup:
    html = figure.to_html(
        full_html=False,
        include_plotlyjs=False,
        div_id=name,
        config={"displayModeBar": False, "responsive": True},
    )
    return Markup(html)

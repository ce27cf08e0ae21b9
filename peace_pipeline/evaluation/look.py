"""The look that pages and figures share: type, colours, and how a plotly figure is laid out."""

from __future__ import annotations

import html
from collections.abc import Sequence

import plotly.graph_objects as go

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


def styled(figure: go.Figure, height: int) -> go.Figure:
    """The figure in the look that all share."""
    figure.update_layout(
        template="plotly_white",
        height=height,
        font={"family": FONT, "size": 13, "color": INK},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        margin={"l": 10, "r": 10, "t": 30, "b": 10},
        legend={"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        hoverlabel={"font": {"family": FONT}},
    )
    figure.update_xaxes(automargin=True)
    figure.update_yaxes(automargin=True)
    return figure


def plain(text: str) -> str:
    """A name that others gave, as text: plotly reads tags and links in names and hovers."""
    return html.escape(text, quote=False)


def cycled(values: Sequence[str], count: int) -> list[str]:
    """So many of the values, from the beginning again where there are fewer."""
    return [values[i % len(values)] for i in range(count)]

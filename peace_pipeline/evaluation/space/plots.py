"""The plots of the report on the embedding space."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from peace_pipeline.evaluation.embedder import PEACE, WEIGHTS_ALONE
from peace_pipeline.evaluation.look import ACCENT, MUTED, PALE, PALETTE, WARM, cycled, plain, styled
from peace_pipeline.evaluation.population import Member
from peace_pipeline.evaluation.representations import CARDS, KNOW_CARDS, RESPONSES, STATISTICS
from peace_pipeline.evaluation.space.labels import PERFORMANCE, THIRDS, UNKNOWN
from peace_pipeline.evaluation.space.results import MAJORITY, METHOD_TITLES, Labels, Map, Table

_THIRDS = dict(zip(THIRDS, (WARM, PALE, ACCENT), strict=True))
CLASSES, OTHERS = 12, "others"
"""So many classes have a colour, the most frequent ones; the rest have one together."""
SHOWN = (PEACE, WEIGHTS_ALONE, RESPONSES, STATISTICS, CARDS, MAJORITY)
"""Methods whose probes are drawn; the tables have all."""
MARKERS = ("circle", "square", "diamond", "triangle-up", "cross", "star", "hexagon", "pentagon")


def coloured(found: Map, label: str, classes: Labels, members: Sequence[Member]) -> go.Figure:
    """A map coloured by a label: colour and mark are the class, hollow marks were trained on shuffled labels."""
    kept = [name for name, _ in Counter(classes.tolist()).most_common(CLASSES)]
    classes = np.where(np.isin(classes, kept), classes, OTHERS)
    names = sorted(
        set(classes.tolist()), key=lambda name: (THIRDS.index(name) if name in THIRDS else -1, name)
    )
    colors = cycled(PALETTE, len(names))
    figure = go.Figure()
    for place, name in enumerate(names):
        rows = sorted(
            np.flatnonzero(classes == name).tolist(), key=lambda row: members[row].listing.shuffled_labels
        )
        symbol = MARKERS[place % len(MARKERS)]
        figure.add_scatter(
            x=found.points[rows, 0],
            y=found.points[rows, 1],
            mode="markers",
            name=plain(name) if name != UNKNOWN else "unknown",
            text=[plain(members[row].listing.model_id) for row in rows],
            hovertemplate="%{text}<extra>%{fullData.name}</extra>",
            marker={
                "color": _THIRDS.get(name, colors[place]) if label == PERFORMANCE else colors[place],
                "symbol": [
                    symbol + ("-open" if members[row].listing.shuffled_labels else "") for row in rows
                ],
                "size": 8,
            },
        )
    figure.update_xaxes(showticklabels=False, zeroline=False)
    figure.update_yaxes(showticklabels=False, zeroline=False)
    styled(figure, 420)
    figure.update_layout(legend={"y": -0.05, "yanchor": "top"}, showlegend=True)
    return figure


def probe_bars(table: Table) -> go.Figure:
    """What the probes of some methods score on each target, with their intervals."""
    figure = go.Figure()
    methods = [method for method in SHOWN if method in next(iter(table.values()))]
    for color, method in zip(cycled(PALETTE, len(methods)), methods, strict=True):
        found = [figures[method].estimate for figures in table.values()]
        figure.add_bar(
            x=list(table),
            y=[each.mean for each in found],
            name=METHOD_TITLES[method],
            marker={
                "color": ACCENT if method == PEACE else color,
                "pattern": {"shape": "/" if method in KNOW_CARDS else "", "fgcolor": "white"},
            },
            error_y={
                "array": [each.high - each.mean for each in found],
                "arrayminus": [each.mean - each.low for each in found],
                "color": MUTED,
                "thickness": 1,
                "width": 2,
            },
        )
    figure.update_yaxes(range=[-0.25, 1.02], title="score on test runs")
    figure.update_layout(barmode="group", bargap=0.18)
    styled(figure, 520)
    figure.update_layout(legend={"y": -0.12, "yanchor": "top"})
    return figure

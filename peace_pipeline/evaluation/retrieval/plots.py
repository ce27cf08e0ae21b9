"""The plots of the retrieval report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.subplots import make_subplots
from sklearn.decomposition import PCA

from peace_pipeline.evaluation.baselines.registry import Knows
from peace_pipeline.evaluation.embedder import PEACE
from peace_pipeline.evaluation.look import ACCENT, MUTED, PALE, PALETTE, WARM, cycled, plain, styled
from peace_pipeline.evaluation.metrics import CUTOFFS
from peace_pipeline.evaluation.population import Member
from peace_pipeline.evaluation.retrieval.results import ALL, SCOPES, Grade, knows

Title = Callable[[str], str]
MARKERS = ("circle", "square", "diamond", "triangle-up", "cross", "star", "hexagon", "pentagon")
_KINDS = {
    None: ("PEACE", ACCENT, ""),
    Knows.RESPONSES: ("reads only responses", PALETTE[2], ""),
    Knows.WEIGHTS: ("reads only weights", PALE, ""),
    Knows.CARDS: ("reads cards", WARM, "/"),
}
"""What a baseline knows → how it is shown."""


def map_bars(grade: Grade, title: Title) -> go.Figure:
    """MAP of every method with its interval; methods that read cards apart, hatched."""
    figure = go.Figure()
    for kind, (name, color, pattern) in _KINDS.items():
        methods = sorted(
            (method for method in grade.scopes[ALL] if knows(method) == kind),
            key=lambda method: -grade.estimate(method, "map").mean,
        )
        found = [grade.estimate(method, "map") for method in methods]
        figure.add_bar(
            y=[title(method) for method in methods],
            x=[each.mean for each in found],
            orientation="h",
            name=name,
            marker={"color": color, "pattern": {"shape": pattern, "fgcolor": "white"}},
            text=[f"{each.mean:.2f}" for each in found],
            textposition="inside",
            insidetextanchor="start",
            error_x={
                "array": [each.high - each.mean for each in found],
                "arrayminus": [each.mean - each.low for each in found],
                "color": MUTED,
            },
        )
    figure.update_xaxes(range=[0, 1.02], title="MAP, with 95% interval")
    figure.update_yaxes(autorange="reversed")
    return styled(figure, 70 + 34 * len(grade.scopes[ALL]))


def at_k(grade: Grade, methods: Sequence[str], title: Title) -> go.Figure:
    """Precision and recall of some methods at each cutoff."""
    figure = make_subplots(1, 2, subplot_titles=("Precision@k", "Recall@k"), horizontal_spacing=0.08)
    for column, metric in enumerate(("precision", "recall"), 1):
        for color, method in zip(cycled(PALETTE, len(methods)), methods, strict=True):
            figure.add_scatter(
                x=[f"k = {k}" for k in CUTOFFS],
                y=[grade.estimate(method, f"{metric}_at_{k}").mean for k in CUTOFFS],
                name=title(method),
                mode="lines+markers",
                line=_line(method, color),
                legendgroup=method,
                showlegend=column == 1,
                row=1,
                col=column,
            )
    figure.update_yaxes(rangemode="tozero")
    return _legend_below(styled(figure, 460))


def by_architecture(grade: Grade, methods: Sequence[str], title: Title) -> go.Figure:
    """MAP of some methods within each architecture."""
    scopes = [scope for scope in grade.scopes if scope not in SCOPES]
    figure = go.Figure()
    for color, method in zip(cycled(PALETTE, len(methods)), methods, strict=True):
        found = [grade.estimate(method, "map", scope) for scope in scopes]
        figure.add_bar(
            x=scopes,
            y=[each.mean for each in found],
            name=title(method),
            marker={
                "color": color,
                "pattern": {"shape": _KINDS[knows(method)][2], "fgcolor": "white"},
            },
            error_y={
                "array": [each.high - each.mean for each in found],
                "arrayminus": [each.mean - each.low for each in found],
                "color": MUTED,
                "thickness": 1,
                "width": 2,
            },
        )
    figure.update_yaxes(range=[0, 1.02], title="MAP")
    figure.update_layout(barmode="group", bargap=0.18)
    return _legend_below(styled(figure, 460))


def embedding_map(members: Sequence[Member], vectors: NDArray[np.floating]) -> go.Figure:
    """Principal components of the embeddings, coloured by task, with a marker for each architecture."""
    pca = PCA(2, random_state=0)
    points = pca.fit_transform(vectors)
    tasks = sorted({member.listing.task or "" for member in members})
    architectures = sorted({member.architecture for member in members})
    colors = dict(zip(tasks, cycled(PALETTE, len(tasks)), strict=True))
    symbols = dict(zip(architectures, cycled(MARKERS, len(architectures)), strict=True))
    figure = go.Figure()
    figure.add_scatter(
        x=points[:, 0],
        y=points[:, 1],
        mode="markers",
        showlegend=False,
        text=[plain(member.listing.model_id) for member in members],
        hoverinfo="text",
        marker={
            "color": [colors[member.listing.task or ""] for member in members],
            "symbol": [_symbol(member, symbols) for member in members],
            "size": 9,
        },
    )
    legend = [(task, color, "circle") for task, color in colors.items()]
    for name, color, symbol in [*legend, *((name, MUTED, symbol) for name, symbol in symbols.items())]:
        marker = {"color": color, "symbol": symbol, "size": 9}
        figure.add_scatter(x=[None], y=[None], mode="markers", name=plain(name), marker=marker)
    first, second = pca.explained_variance_ratio_
    figure.update_xaxes(title=f"first component ({first:.0%} of variance)", showticklabels=False)
    figure.update_yaxes(title=f"second component ({second:.0%})", showticklabels=False)
    return _legend_below(styled(figure, 560))


def _symbol(member: Member, symbols: Mapping[str, str]) -> str:
    return symbols[member.architecture] + ("-open" if member.listing.shuffled_labels else "")


def _line(method: str, color: str) -> dict[str, object]:
    return {
        "color": color,
        "width": 4 if method == PEACE else 1.8,
        "dash": "dot" if knows(method) == Knows.CARDS else "solid",
    }


def _legend_below(figure: go.Figure) -> go.Figure:
    figure.update_layout(legend={"y": -0.15, "yanchor": "top"})
    return figure

"""The page of the report on scalability."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import plotly.graph_objects as go

from peace_pipeline.evaluation.embedder import WEIGHTS_ALONE
from peace_pipeline.evaluation.look import ACCENT, MUTED, PALETTE, styled
from peace_pipeline.evaluation.page import Cell, Figure, Page, Section, Table
from peace_pipeline.evaluation.scalability.embedding import LAYERS, Cost
from peace_pipeline.evaluation.scalability.indexing import Searches
from peace_pipeline.evaluation.scalability.results import HUB, MEANS, METHOD_TITLES, Results, duration


def page(results: Results) -> Page:
    """The whole page."""
    sections = [_sizes(results), _numbers(results), _rows(results), _exponents(results), _hub(results)]
    return Page(
        summary(results),
        {
            "networks embedded at most": f"{max(results.by_number):,}",
            "rows at most": f"{max(results.by_rows):,}",
            "encoder": results.encoder_version,
            "seed": str(results.seed),
        },
        sections,
        losses=results.losses(),
        method=_METHOD,
        caveats=_CAVEATS,
    )


def summary(results: Results) -> str:
    """What the figures say."""
    rows = max(results.by_rows)
    found = results.by_rows[rows].indexed
    return (
        f"On one thread a network of this lake ({results.mean_weights:,.0f} weights in the mean) takes "
        f"{1000 * results.seconds_a_network:.1f} ms from its tables to its vector, and a large one "
        f"{1e9 * results.seconds_a_weight:.1f} ns a weight. Among {rows:,} rows a search takes "
        f"{1000 * found.latency['p50']:.0f} ms (median) and finds {found.recall:.3f} of the ten nearest."
    )


def _sizes(results: Results) -> Section:
    sizes = sorted(results.by_size[WEIGHTS_ALONE])
    rows: list[list[str | Cell]] = [
        [METHOD_TITLES[name], *(_cell(of[size]) for size in sizes)] for name, of in results.by_size.items()
    ]
    return Section(
        "One network, by its weights",
        [
            f"Median seconds from tensors in memory to the vector of one chain of {LAYERS} square layers, on one "
            "thread; below, the peak of memory above what the process held before, the network's own tensors among "
            "that.",
            Table(["Method", *(f"{size:,}" for size in sizes)], rows, lead=METHOD_TITLES[WEIGHTS_ALONE]),
            Figure(
                _lines(
                    {
                        METHOD_TITLES[name]: {size: cost.seconds for size, cost in of.items()}
                        for name, of in results.by_size.items()
                    },
                    "weights",
                ),
                "Seconds by weights of each method, both on scales of powers of ten.",
            ),
        ],
    )


def _numbers(results: Results) -> Section:
    rows: list[list[str | Cell]] = [
        [f"{count:,}", duration(cost.seconds), f"{count / cost.seconds:.0f}", _bytes(cost.memory)]
        for count, cost in results.by_number.items()
    ]
    return Section(
        "Networks of the lake, by their number",
        [
            "Seconds to read so many of the lake's networks from its tables and embed them by both senses, on one "
            "thread; what was asked of them is in the lake already.",
            Table(["Networks", "Seconds", "Networks a second", "Memory"], rows),
        ],
    )


def _rows(results: Results) -> Section:
    built: list[list[str | Cell]] = [
        [
            f"{rows:,}",
            duration(cost.written),
            duration(cost.built),
            _bytes(cost.row_bytes),
            _bytes(cost.index_bytes),
        ]
        for rows, cost in results.by_rows.items()
    ]
    searched: list[list[str | Cell]] = [
        [f"{rows:,}, {kind}", *_searches(found)]
        for rows, cost in results.by_rows.items()
        for kind, found in (("every row compared", cost.exact), ("with the index", cost.indexed))
    ]
    latencies = {
        title: {rows: getattr(cost, kind).latency["p50"] for rows, cost in results.by_rows.items()}
        for kind, title in (("exact", "every row compared"), ("indexed", "with the index"))
    }
    return Section(
        "The index, by its rows",
        [
            "Rows hold three vectors (both senses, weights, responses) and a key; the indexes are one for each vector "
            "and one for each column that searches filter by.",
            Table(["Rows", "Written in", "Indexed in", "Rows on disk", "Indexes on disk"], built),
            "Searches for the ten nearest models, each opening the table as the command line does: seconds by "
            "quantile, and which share of the ten nearest they find.",
            Table(["Rows", "Median", "p95", "p99", "Recall@10", "Searches"], searched),
            Figure(
                _lines(latencies, "rows"),
                "Median seconds of a search by rows, both on scales of powers of ten.",
            ),
        ],
    )


def _exponents(results: Results) -> Section:
    rows: list[list[str | Cell]] = [
        [name[0].upper() + name[1:], f"{value:.2f}" if np.isfinite(value) else "not grown"]
        for name, value in results.exponents().items()
    ]
    return Section(
        "What each cost grows like",
        [
            "The power of the size that a cost grows like (1: in proportion), fitted to the last two decades of sizes. "
            "“Not grown”: the largest costs less than double the smallest, as what all sizes share is most of it.",
            Table(["Cost", "Exponent"], rows),
        ],
    )


def _hub(results: Results) -> Section:
    of_rows, of_indexes = results.bytes()
    hours: list[list[str | Cell]] = [[f"{mean:,}", f"{results.hours(mean):,.0f}"] for mean in MEANS]
    return Section(
        f"{HUB:,} models, extrapolated",
        [
            "Hours of one core to read so many networks from a lake's tables and embed them, by the mean number of "
            "weights of a model; nobody here measured that mean. To download, to verify and to run networks comes on "
            "top, and large ones may be read by ranges, which bounds the weights that are read of each.",
            Table(["Mean weights", "Core-hours"], hours),
            f"Their index would have {_bytes(of_rows)} of rows and {_bytes(of_indexes)} of indexes, take "
            f"{60 * results.hours_to_index():,.0f} minutes to write and build on this machine, and answer in "
            f"{results.seconds_to_search('indexed'):.2g} s (every row compared: "
            f"{results.seconds_to_search('exact'):.2g} s). One row a model: what holds several networks takes several.",
        ],
    )


def _searches(found: Searches) -> list[str | Cell]:
    return [*map(duration, found.latency.values()), f"{found.recall:.3f}", str(found.count)]


def _cell(cost: Cost) -> Cell:
    return Cell(duration(cost.seconds), _bytes(cost.memory))


def _bytes(value: float) -> str:
    if not np.isfinite(value):
        return "not known"
    for unit, size in (("GiB", 2**30), ("MiB", 2**20)):
        if value >= size:
            return f"{value / size:,.1f} {unit}" if value < 100 * size else f"{value / size:,.0f} {unit}"
    return "< 1 MiB"


def _lines(costs: Mapping[str, Mapping[int, float]], unit: str) -> go.Figure:
    """Seconds by sizes of ``unit``, a line each; the first is PEACE's own."""
    figure = go.Figure()
    colors = (ACCENT, *PALETTE[1:])
    for place, (name, of) in enumerate(costs.items()):
        figure.add_scatter(
            x=list(of),
            y=list(of.values()),
            name=name,
            mode="lines+markers",
            marker={"symbol": ("circle", "square", "diamond", "cross")[place % 4], "size": 8},
            line={"color": colors[place % len(colors)], "width": 2},
            hovertemplate=f"%{{x:,}} {unit}: %{{y:.3g}} s<extra>%{{fullData.name}}</extra>",
        )
    styled(figure, 360)
    figure.update_xaxes(type="log", title=unit, dtick=1, exponentformat="power", gridcolor=MUTED + "33")
    figure.update_yaxes(type="log", title="seconds", dtick=1, exponentformat="power", gridcolor=MUTED + "33")
    return figure


_METHOD = [
    "Single networks are random chains, in a process of its own on one thread: medians of at most seven "
    "runs, fewer where a run takes long. Networks of the lake are drawn at random.",
    "Rows of the index are made up: vectors of this lake's networks, each moved at random by as much as these are "
    "apart from their nearest neighbours (medians), written into the index's own table and searched by the same code "
    "as every search. What is nearest is known from comparing every query with every row in the order of their making.",
    "Flattened weights are, of networks with more than 16,384 weights, so many at even distances: hence no growth.",
]
_CAVEATS = [
    "One machine and one run; what else it does at the time moves all figures. Searches of one process after the other "
    "find the table in the page cache.",
    "Made-up vectors are clustered around real ones; among those of two million real models neighbours may be nearer, "
    "and then recall is lower.",
]

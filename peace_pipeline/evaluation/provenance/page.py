"""The page of the provenance report."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from peace_pipeline.comparison.verdict import VERDICTS
from peace_pipeline.evaluation.look import MUTED, PALETTE, styled
from peace_pipeline.evaluation.page import Cell, Figure, Page, Section, Table
from peace_pipeline.evaluation.provenance.results import Results


def page(results: Results) -> Page:
    """The whole page."""
    facts = {
        "pairs": f"{len(results.judged):,}",
        "of test runs": f"{len(results.test):,}",
        "tolerance of equivalent networks": f"{results.thresholds.tolerance:.1e}",
        "least similarity of derived ones": f"{results.thresholds.derived:.3f}",
        "seed": str(results.seed),
    }
    return Page(summary(results), facts, [_confusion(results), _kinds(results)], method=_method(results))


def summary(results: Results) -> str:
    """What the figures say."""
    wrong = round(results.errors(results.test) * len(results.test))
    return (
        f"Of {len(results.test):,} pairs of networks from held-out training runs, {wrong} get a wrong verdict "
        f"({results.errors(results.test):.2%}). A threshold on the cosine of stored values tells derived from "
        f"unrelated networks wrongly in {results.plain_errors(False):.1%} of pairs, in "
        f"{results.plain_errors(True):.1%} where one is disguised."
    )


def _confusion(results: Results) -> Section:
    rows = [[truth, *map(str, row.values())] for truth, row in results.confusion().items()]
    return Section(
        "Verdicts on pairs of test runs",
        ["Rows are what is true, columns the verdict.", Table(["Truth", *VERDICTS], rows)],
    )


def _kinds(results: Results) -> Section:
    header = [
        "Pair",
        "Pairs",
        "Truth",
        "Wrong",
        "Similarity",
        "Distance",
        "Relation right",
        "Cosine as stored",
    ]
    rows: list[list[str | Cell]] = []
    for (kind, is_disguised), judged in results.kinds().items():
        known = [each for each in judged if each.relation]
        right = f"{np.mean([e.relation == e.found_relation for e in known]):.0%}" if known else "–"
        measured = [each.measured for each in judged if each.measured]
        rows.append([
            kind + (", disguised" if is_disguised else ""),
            str(len(judged)),
            judged[0].truth,
            f"{results.errors(judged):.1%}",
            _range([each.similarity for each in measured], "{:z.2f}"),
            _range([each.distance for each in measured], "{:.1g}"),
            right,
            _range([each.plain for each in judged], "{:z.2f}"),
        ])  # fmt: skip
    return Section(
        "Kinds of pairs",
        [
            "Similarity and distance are medians, with the smallest and the largest. Disguised: acted on by a random "
            "element of everything that PEACE knows to be a symmetry.",
            Table(header, rows),
            Figure(
                _strip(results),
                "Similarity of every test pair by its kind, coloured by what is true of it; the dotted line is the "
                "least similarity of derived networks.",
            ),
        ],
    )


def _range(values: Sequence[float], pattern: str) -> Cell:
    if not values:
        return Cell("–")
    low, middle, high = (pattern.format(np.quantile(values, q)) for q in (0, 0.5, 1))
    return Cell(middle, f"{low} – {high}")


def _strip(results: Results) -> go.Figure:
    """Similarity of every test pair, by kind."""
    figure = go.Figure()
    for color, truth in zip(PALETTE, VERDICTS, strict=False):
        marker = {"color": color, "size": 7, "opacity": 0.7}
        judged = [each for each in results.test if each.truth == truth and each.measured]
        if judged:
            figure.add_box(
                y=[each.kind for each in judged],
                x=[each.measured.similarity for each in judged if each.measured],
                name=truth,
                legendgroup=truth,
                showlegend=False,
                orientation="h",
                boxpoints="all",
                jitter=0.5,
                pointpos=0,
                line={"width": 0},
                fillcolor="rgba(0,0,0,0)",
                marker=marker,
            )
            figure.add_scatter(
                x=[None], y=[None], mode="markers", name=truth, legendgroup=truth, marker=marker
            )
    figure.add_vline(x=results.thresholds.derived, line={"dash": "dot", "width": 1, "color": MUTED})
    figure.update_xaxes(title="similarity: 0 is chance, 1 equality")
    figure.update_yaxes(autorange="reversed")
    return styled(figure, 520)


def _method(results: Results) -> list[str]:
    return [
        "Both networks are brought into one form: units are matched group by group in the order of data flow, "
        "scales, signs and maps of heads are taken away. A layer's similarity says how far its cosine lies above "
        "what the same matching finds where hidden units are mixed; a network's is the mean over its values.",
        "Thresholds are those of least error on pairs of training runs; the tables show pairs of test runs alone. "
        "Fine-tuned networks were really trained on, with the zoo's own optimiser.",
        f"Of a larger zoo at most {results.side:,} networks of each split are drawn from, recipe by recipe, with "
        f"the seed {results.seed}.",
    ]

"""The page of the provenance report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go

from peace_pipeline.comparison.verdict import DERIVED, UNRELATED, VERDICTS, Thresholds
from peace_pipeline.evaluation.page import PALETTE, Html, Section, build_page, styled, table
from peace_pipeline.zoo.listing import TEST, TRAIN

if TYPE_CHECKING:
    from peace_pipeline.evaluation.provenance.study import Judged

TITLE = "Provenance: what two networks have to do with each other"


@dataclass(frozen=True)
class Results:
    """All pairs, and the thresholds that those of training runs gave."""

    thresholds: Thresholds
    seed: int
    judged: Sequence[Judged]

    @property
    def test(self) -> list[Judged]:
        """Pairs of test runs."""
        return [each for each in self.judged if each.split == TEST]

    def errors(self, judged: Iterable[Judged]) -> float:
        """Share of wrong verdicts."""
        return float(np.mean([each.verdict(self.thresholds) != each.truth for each in judged]))

    def confusion(self) -> dict[str, dict[str, int]]:
        """Truth → verdict → number of test pairs."""
        counted = {truth: dict.fromkeys(VERDICTS, 0) for truth in VERDICTS}
        for each in self.test:
            counted[each.truth][each.verdict(self.thresholds)] += 1
        return counted

    def kinds(self) -> dict[tuple[str, bool], list[Judged]]:
        """Test pairs by kind and disguise."""
        found: dict[tuple[str, bool], list[Judged]] = {}
        for each in self.test:
            found.setdefault((each.kind, each.disguised), []).append(each)
        return found

    def plain_errors(self, disguised: bool) -> float:
        """Share of derived and unrelated test pairs that a threshold on the cosine of stored values gets wrong: the
        one that is best on training pairs that are not disguised."""
        from peace_pipeline.evaluation.provenance.study import cut

        train = [each for each in self.judged if each.split == TRAIN and not each.disguised]
        unrelated, derived = (
            [e.plain for e in train if e.truth == wanted] for wanted in (UNRELATED, DERIVED)
        )
        bound = cut(unrelated, derived)
        wrong = [
            (each.plain > bound) != (each.truth == DERIVED)
            for each in self.test
            if each.truth in (DERIVED, UNRELATED) and each.disguised == disguised
        ]
        return float(np.mean(wrong))

    def figures(self) -> dict[str, float]:
        """All figures, flat."""
        flat = {
            "pairs": float(len(self.judged)),
            "test_pairs": float(len(self.test)),
            "tolerance": self.thresholds.tolerance,
            "derived": self.thresholds.derived,
            "seed": float(self.seed),
            "error": self.errors(self.test),
            "plain_cosine/error": self.plain_errors(False),
            "plain_cosine/error_disguised": self.plain_errors(True),
        }
        for (kind, is_disguised), judged in self.kinds().items():
            flat[f"error/{_slug(kind, is_disguised)}"] = self.errors(judged)
        for truth, row in self.confusion().items():
            flat |= {f"confusion/{truth}/{verdict}": float(count) for verdict, count in row.items()}
        return flat


def _slug(kind: str, is_disguised: bool) -> str:
    return kind.replace(" ", "_").replace("'", "").replace("%", "") + ("_disguised" if is_disguised else "")


def render(results: Results) -> str:
    """The whole page."""
    facts = {
        "pairs": f"{len(results.judged):,}",
        "of test runs": f"{len(results.test):,}",
        "tolerance of equivalent networks": f"{results.thresholds.tolerance:.1e}",
        "least similarity of derived ones": f"{results.thresholds.derived:.3f}",
        "seed": str(results.seed),
    }
    return build_page(TITLE, summary(results), facts, [_confusion(results), _kinds(results), _method()])


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
        ["Rows are what is true, columns the verdict.", table(["", *VERDICTS], rows)],
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
    rows: list[list[str | Html]] = []
    for (kind, is_disguised), judged in results.kinds().items():
        known = [each for each in judged if each.relation]
        right = f"{np.mean([e.relation == e.found_relation for e in known]):.0%}" if known else ""
        measured = [each.measured for each in judged if each.measured]
        rows.append([
            kind + (", disguised" if is_disguised else ""),
            str(len(judged)),
            judged[0].truth,
            f"{results.errors(judged):.1%}",
            _range([each.similarity for each in measured], "{:.2f}"),
            _range([each.distance for each in measured], "{:.0e}"),
            right,
            _range([each.plain for each in judged], "{:.2f}"),
        ])  # fmt: skip
    return Section(
        "Kinds of pairs",
        [
            "Similarity and distance are medians, with the smallest and the largest. Disguised: acted on by a random "
            "element of everything that PEACE knows to be a symmetry.",
            table(header, rows),
            _strip(results),
        ],
    )


def _range(values: Sequence[float], pattern: str) -> Html:
    if not values:
        return Html("")
    low, middle, high = (pattern.format(np.quantile(values, q)) for q in (0, 0.5, 1))
    return Html(f"{middle}<br><small>{low} – {high}</small>")


def _strip(results: Results) -> go.Figure:
    """Similarity of every test pair, by kind."""
    figure = go.Figure()
    for color, truth in zip(PALETTE, VERDICTS, strict=False):
        judged = [each for each in results.test if each.truth == truth and each.measured]
        if judged:
            figure.add_box(
                y=[each.kind for each in judged],
                x=[each.measured.similarity for each in judged if each.measured],
                name=truth,
                orientation="h",
                boxpoints="all",
                jitter=0.5,
                pointpos=0,
                line={"width": 0},
                fillcolor="rgba(0,0,0,0)",
                marker={"color": color, "size": 4, "opacity": 0.6},
            )
    figure.add_vline(x=results.thresholds.derived, line={"dash": "dot", "width": 1})
    figure.update_xaxes(title="similarity: 0 is chance, 1 equality")
    figure.update_yaxes(autorange="reversed")
    return styled(figure, 520)


def _method() -> Section:
    return Section(
        "How this was measured",
        [
            "Both networks are brought into one form: units are matched group by group in the order of data flow, "
            "scales, signs and maps of heads are taken away. A layer's similarity says how far its cosine lies above "
            "what the same matching finds in shuffled values; a network's is the mean over its values.",
            "Thresholds are those of least error on pairs of training runs; the tables show pairs of test runs alone. "
            "Fine-tuned networks were really trained on, with the zoo's own optimiser.",
        ],
    )

"""The page of the report on parts."""

from __future__ import annotations

import plotly.graph_objects as go

from peace_pipeline.evaluation.ablation.results import ALL, MOVEMENTS, Results
from peace_pipeline.evaluation.ablation.variants import FULL
from peace_pipeline.evaluation.look import ACCENT, INK, MUTED, styled
from peace_pipeline.evaluation.page import Cell, Figure, Page, Section, Table


def page(results: Results) -> Page:
    """The whole page."""
    return Page(
        summary(results),
        {
            "variants": str(len(results.variants)),
            "seeds each": str(results.size.seeds),
            "epochs each": str(results.size.epochs),
            "test networks": str(len(results.runs)),
            "encoder of the lake": results.encoder_version,
            "seed": str(results.seed),
        },
        [_retrieval(results), _movements(results)],
        losses=results.losses(),
        method=[
            "Every variant is trained from the beginning on this lake's training runs, so many epochs and seeds, and "
            "its best epoch is chosen on validation runs. All are judged on the same networks of test runs. "
            "Differences are to the full encoder on the same queries, seeds averaged, with 95% bootstrap intervals "
            "over training runs of the test split: that is no interval over seeds, whose range stands below each "
            "figure.",
            "Movements are of embeddings by weights alone in units of the spread between networks, in float32: "
            "symmetries should not move them (1e-3 at most), broken twins (all units broken) by 1 and more, noise by "
            ".1 at most.",
        ],
        caveats=[
            "The lake's tasks are seen in training; a part that helps on tasks nobody trained on may show "
            "nothing here.",
            "Epochs are equal, not seconds. Not tried here: single kinds of pairs, other networks of neurons (sets, "
            "graph attention), and the number of tasks.",
        ],
    )


def summary(results: Results) -> str:
    """What the figures say."""
    full, worth = results.precision(FULL, ALL).estimate, results.worth()
    named = ", ".join(f"“{results.variants[name].title}”" for name in worth)
    return (
        f"The full encoder finds networks of the same task with a MAP of {full.mean:.3f} [{full.low:.3f}, "
        f"{full.high:.3f}] after {results.size.epochs} epochs. "
        + (
            f"Surely worse are {len(worth)} of {len(results.variants) - 1} variants: {named}."
            if worth
            else ""
        )
        + ("No variant is surely worse." if not worth else "")
    )


def _retrieval(results: Results) -> Section:
    header = ["Variant"]
    for title in results.scopes.values():
        header += [title, "behind by"]
    rows: list[list[str | Cell]] = []
    for name, variant in results.variants.items():
        row: list[str | Cell] = [variant.title]
        for scope in results.scopes:
            low, high = results.seeds(name, scope)
            row.append(Cell(f"{results.precision(name, scope).value:.3f}", f"seeds {low:.3f} to {high:.3f}"))
            behind = results.behind(name, scope).estimate
            row.append(
                "–"
                if name == FULL
                else Cell(f"{behind.mean:+.3f}", f"{behind.low:+.3f} to {behind.high:+.3f}")
            )
        rows.append(row)
    raw: list[str | Cell] = ["Raw responses (nothing is learned)"]
    for scope in results.scopes:
        raw += [f"{results.raw_precision(scope).value:.3f}" if scope in results.raw else "–", "–"]
    return Section(
        "Networks of the same task, found again",
        [
            "Same-task MAP of networks of test runs, and how far each variant is behind the full encoder.",
            Table(header, [*rows, raw], lead=results.variants[FULL].title),
            Figure(_bars(results), "How far each variant is behind the full encoder, over all other runs."),
        ],
    )


def _movements(results: Results) -> Section:
    rows: list[list[str | Cell]] = [
        [variant.title, *(f"{results.moved(name, each):.2g}" for each in MOVEMENTS)]
        for name, variant in results.variants.items()
    ]
    return Section(
        "What moves the embedding",
        [
            "Mean over seeds, in units of the spread between networks.",
            Table(["Variant", *MOVEMENTS.values()], rows, lead=results.variants[FULL].title),
        ],
    )


def _bars(results: Results) -> go.Figure:
    """A bar for each variant but the full one, with its interval; the dearest part first."""
    found = {name: results.behind(name, ALL).estimate for name in results.variants if name != FULL}
    order = sorted(found, key=lambda name: found[name].mean)
    figure = go.Figure(
        go.Bar(
            x=[found[name].mean for name in order],
            y=[results.variants[name].title for name in order],
            orientation="h",
            marker={"color": [ACCENT if found[name].low > 0 else MUTED for name in order]},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [found[name].high - found[name].mean for name in order],
                "arrayminus": [found[name].mean - found[name].low for name in order],
                "color": INK,
                "thickness": 1,
            },
            hovertemplate="%{y}: %{x:.3f}<extra></extra>",
        )
    )
    return styled(figure, 120 + 26 * len(order))

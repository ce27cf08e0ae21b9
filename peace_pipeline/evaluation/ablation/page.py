"""The page of the report on parts."""

from __future__ import annotations

import plotly.graph_objects as go

from peace_pipeline.evaluation.ablation.results import ALL, MOVEMENTS, READ_BY, WEIGHTS, Results, quoted
from peace_pipeline.evaluation.ablation.variants import FULL
from peace_pipeline.evaluation.embedder import PEACE, WEIGHTS_ALONE
from peace_pipeline.evaluation.look import ACCENT, MUTED, PALE, styled
from peace_pipeline.evaluation.page import Cell, Figure, Page, Section, Table
from peace_pipeline.evaluation.resampling import Resampled


def page(results: Results) -> Page:
    """The whole page."""
    sections = [_retrieval(results), _movements(results)]
    if results.arms:
        sections.append(_diversity(results))
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
        sections,
        losses=results.losses(),
        method=[
            "Every variant but the one that begins with the shipped encoder is trained from the beginning on the "
            "networks of this lake's training runs whose cards name a task, so many epochs and seeds, and its best "
            "epoch is chosen on validation runs. All are judged on the same networks of test runs. Differences are to "
            "the full encoder on the same queries, with 95% intervals: bootstrap over training runs of the test split, "
            "and Student's t over seeds, of which three leave much open; the range of the seeds stands below each "
            "figure.",
            "Variants of pairs leave out one reason for which networks are alike or pushed apart; what has no pairs in "
            "this lake is not tried. An encoder that is trained on one sense has no other. Graph attention is that of "
            "torch-geometric's GATConv, with every weight as an edge; deep sets hear the weights of a neuron as a set "
            "and nothing of the neurons at their other ends. What is not equivariant is told the place of each neuron.",
            "Movements are of embeddings by weights alone in units of the spread between networks, in float32: "
            "symmetries should not move them (1e-3 at most), broken twins (all units broken) by 1 and more, noise by "
            ".1 at most.",
        ],
        caveats=[
            "The lake's tasks are seen in training; a part that helps on tasks nobody trained on may show "
            "nothing here.",
            "Epochs are equal, not seconds, and few: what needs a long training to show is not seen.",
            "The variants are not corrected for their number: of forty parts worth nothing one is “surely” behind by "
            "chance in each column.",
            "What begins with the shipped encoder has had far more training than the others.",
        ],
    )


def summary(results: Results) -> str:
    """What the figures say."""
    full = results.precision(FULL, ALL).estimate
    said = [
        f"The full encoder finds networks of the same task with a MAP of {full.mean:.3f} [{full.low:.3f}, "
        f"{full.high:.3f}] after {results.size.epochs} epochs."
    ]
    for scope, read in READ_BY.items():
        if scope in results.scopes:
            worth = [results.variants[name].title for name in results.worth(scope)]
            count = f"{len(worth)} of {len(results.others(scope))} variants"
            said.append(f"Read by {read}, {count} are surely behind it{': ' * bool(worth)}{quoted(worth)}.")
    return " ".join(said)


def _retrieval(results: Results) -> Section:
    header = ["Variant"]
    for title in results.scopes.values():
        header += [title, "behind by"]
    rows: list[list[str | Cell]] = []
    for name, variant in results.variants.items():
        row: list[str | Cell] = [variant.title]
        for scope in results.scopes:
            row += _cells(results, name, scope)
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


def _cells(results: Results, name: str, scope: str) -> list[str | Cell]:
    if not results.has(name, scope):
        return ["–", "–"]
    low, high = results.seeds(name, scope)
    found = Cell(f"{results.precision(name, scope).value:.3f}", f"seeds {low:.3f} to {high:.3f}")
    return [found, "–" if name == FULL else _difference(results.behind(name, scope))]


def _difference(found: Resampled) -> Cell:
    estimate = found.estimate
    return Cell(f"{estimate.mean:+.3f}", f"{estimate.low:+.3f} to {estimate.high:+.3f}")


def _movements(results: Results) -> Section:
    rows: list[list[str | Cell]] = [
        [variant.title, *(f"{results.moved(name, each):.2g}" for each in MOVEMENTS)]
        for name, variant in results.variants.items()
        if results.has(name, WEIGHTS)
    ]
    return Section(
        "What moves the embedding",
        [
            "Mean over seeds, in units of the spread between networks.",
            Table(["Variant", *MOVEMENTS.values()], rows, lead=results.variants[FULL].title),
        ],
    )


def _diversity(results: Results) -> Section:
    most = results.arms[0]
    rows: list[list[str | Cell]] = []
    for arm in results.arms:
        row: list[str | Cell] = [f"{arm.tasks:,}"]
        for method in (PEACE, WEIGHTS_ALONE):
            found = results.diverse(arm, method)
            behind = results.diverse(most, method) - found
            row += [_interval(found), "–" if arm is most else _difference(behind)]
        rows.append(row)
    return Section(
        "How many tasks it learns from",
        [
            f"Encoders that learned from {most.networks:,} networks in {most.epochs} epochs each, of ever fewer tasks, "
            "drawn anew with each seed; judged by test networks of tasks that none of them learned from.",
            Table(
                ["Tasks", "MAP", "behind by", "MAP, weights alone", "behind by"], rows, lead=f"{most.tasks:,}"
            ),
        ],
    )


def _interval(found: Resampled) -> Cell:
    estimate = found.estimate
    return Cell(f"{estimate.mean:.3f}", f"{estimate.low:.3f} to {estimate.high:.3f}")


def _bars(results: Results) -> go.Figure:
    """A bar for each variant but the full one, with its interval; the dearest part first."""
    found = {name: results.behind(name, ALL).estimate for name in results.variants if name != FULL}
    order = sorted(found, key=lambda name: found[name].mean)
    figure = go.Figure()
    for name, color, sure in (("surely behind", ACCENT, True), ("not surely", PALE, False)):
        kept = [each for each in order if (found[each].low > 0) == sure]
        figure.add_bar(
            x=[found[each].mean for each in kept],
            y=[results.variants[each].title for each in kept],
            name=name,
            orientation="h",
            marker={"color": color},
            error_x={
                "array": [found[each].high - found[each].mean for each in kept],
                "arrayminus": [found[each].mean - found[each].low for each in kept],
                "color": MUTED,
                "thickness": 1,
            },
            hovertemplate="%{y}: %{x:.3f}<extra></extra>",
        )
    titles = [results.variants[each].title for each in order]
    figure.update_yaxes(categoryorder="array", categoryarray=titles)
    figure.update_xaxes(title="MAP behind the full encoder, with 95% interval")
    figure.update_layout(showlegend=True)
    return styled(figure, 120 + 26 * len(order))

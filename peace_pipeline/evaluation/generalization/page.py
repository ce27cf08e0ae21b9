"""The page of the report on what was left out."""

from __future__ import annotations

import plotly.graph_objects as go

from peace_pipeline.evaluation.generalization.results import (
    LEFT_OUT,
    RAW,
    SENSES,
    TRAINED_ON,
    WEIGHTS_LEFT_OUT,
    Results,
)
from peace_pipeline.evaluation.generalization.strangers import SHAPES, TITLES
from peace_pipeline.evaluation.generalization.units import ARCHITECTURE, DEPTH, TASK, WIDTH, Unit
from peace_pipeline.evaluation.look import ACCENT, MUTED, PALE, WARM, plain, styled
from peace_pipeline.evaluation.page import Cell, Figure, Page, Section, Table
from peace_pipeline.evaluation.resampling import Resampled

_SECTIONS = {
    ARCHITECTURE: "Architectures left out",
    TASK: "Tasks left out",
    WIDTH: "The widest networks left out",
    DEPTH: "The deepest networks left out",
}
_BARS = {
    LEFT_OUT: ("left out", ACCENT),
    TRAINED_ON: ("trained on it", PALE),
    WEIGHTS_LEFT_OUT: ("left out, weights alone", WARM),
    RAW: ("Raw responses", MUTED),
}


def page(results: Results) -> Page:
    """The whole page."""
    sections = [_section(results, kind) for kind in results.kinds]
    if results.origins:
        sections.append(_strangers(results))
    same = [f"{unit.name} are the same networks as {unit.same_as}" for unit in results.same]
    return Page(
        summary(results),
        {
            "architectures": str(len(results.units(ARCHITECTURE))),
            "tasks": str(len(results.units(TASK))),
            "seeds each": str(results.size.seeds),
            "epochs each": str(results.size.epochs),
            "test networks": str(len(results.runs)),
            "encoder of the lake": results.encoder_version,
            "seed": str(results.seed),
        },
        sections,
        losses=results.losses(),
        method=[
            "For each architecture, each task, the widest third and the deepest third (as near as ties allow) an "
            "encoder is trained from the beginning on the networks of this lake's training runs whose cards name a "
            "task, without it, its best epoch chosen on validation runs without it; beside it stands an encoder "
            "trained on all, with as many steps. Networks of what was left out, of test runs, ask for others of their "
            "task among all test networks of other runs. Each encoder is read by both senses, by weights alone and by "
            "answers alone. Intervals are of 95%: bootstrap over training runs, Student's t over seeds.",
        ],
        caveats=[
            "An encoder that a task was left out of knows all architectures from the lake's other tasks, and one that "
            "an architecture, a width or a depth was left out of knows all tasks.",
            *([f"Not trained twice: {'; '.join(same)}."] if same else []),
            "The shipped encoder saw a thousand made-up tasks; what it knows of tasks nobody trained on is not "
            "measured here but by `python benchmarks/encoders.py`.",
        ],
    )


def summary(results: Results) -> str:
    """What the figures say."""
    said = [
        f"{kind} left out {results.mean(kind, LEFT_OUT).value:.3f} (trained on "
        f"{results.mean(kind, TRAINED_ON).value:.3f}, raw responses {results.mean(kind, RAW).value:.3f})"
        for kind in results.kinds
    ]
    return f"Same-task MAP, the mean over what was left out: {'; '.join(said)}."


def _section(results: Results, kind: str) -> Section:
    units = results.units(kind)
    rows: list[list[str | Cell]] = [
        [
            unit.name,
            *(_cell(results.of(unit, method)) for methods in SENSES.values() for method in methods),
            _cell(results.of(unit, RAW)),
            _cell(results.lead(unit, RAW), "{:+.3f}"),
            str(results.queries(unit)),
        ]
        for unit in units
    ]
    if len(units) > 1:
        rows.append(
            [
                "mean",
                *(_cell(results.mean(kind, method)) for methods in SENSES.values() for method in methods),
                _cell(results.mean(kind, RAW)),
                _cell(results.mean(kind, LEFT_OUT) - results.mean(kind, RAW), "{:+.3f}"),
                "",
            ]
        )
    return Section(
        _SECTIONS[kind],
        [
            "Same-task MAP of the networks that were left out, by encoders that were not trained on them and by one "
            "that was, read by both senses and by each.",
            Table(
                [
                    kind.title(),
                    *(senses for methods in SENSES.values() for senses in methods.values()),
                    "Raw responses",
                    "left out ahead of them",
                    "queries",
                ],
                rows,
                above=[(title, len(methods)) for title, methods in SENSES.items()],
                lead="mean",
            ),
            Figure(_bars(results, units), f"Same-task MAP by {kind} and method."),
        ],
    )


def _strangers(results: Results) -> Section:
    strangers = results.strangers
    rows: list[list[str | Cell]] = [
        [
            origin,
            *(_cell(results.strange(origin, method)) for method in TITLES),
            str(len(strangers.found[origin][SHAPES][0].queries)),
        ]
        for origin in results.origins
    ]
    return Section(
        "Networks without a task",
        [
            f"{strangers.networks} networks whose cards name no task, as those of packages: none of the encoders above "
            f"was trained on any, and {strangers.ran} of them could be run. MAP of finding the others that come from "
            "the same place, by weights alone, among all of them and all test networks. Networks of one place are of "
            "one kind, and often of one shape: what shapes alone find needs no encoder.",
            Table(["From", *TITLES.values(), "queries"], rows),
        ],
    )


def _cell(found: Resampled, form: str = "{:.3f}") -> Cell:
    estimate = found.estimate
    return Cell(form.format(estimate.mean), f"{form.format(estimate.low)} to {form.format(estimate.high)}")


def _bars(results: Results, units: list[Unit]) -> go.Figure:
    figure = go.Figure()
    for method, (title, color) in _BARS.items():
        figure.add_bar(
            x=[plain(unit.name) for unit in units],
            y=[results.of(unit, method).value for unit in units],
            name=title,
            marker={"color": color},
            hovertemplate="%{x}: %{y:.3f}<extra>%{fullData.name}</extra>",
        )
    figure.update_yaxes(range=[0, 1])
    return styled(figure, 360)

"""The page of the report on what was left out."""

from __future__ import annotations

import plotly.graph_objects as go

from peace_pipeline.evaluation.generalization.results import (
    ARCHITECTURE,
    LEFT_OUT,
    METHOD_TITLES,
    RAW,
    TASK,
    TRAINED_ON,
    WEIGHTS_LEFT_OUT,
    Results,
    Unit,
)
from peace_pipeline.evaluation.look import ACCENT, MUTED, PALE, WARM, plain, styled
from peace_pipeline.evaluation.page import Cell, Figure, Page, Section, Table
from peace_pipeline.evaluation.resampling import Resampled

_COLORS = {LEFT_OUT: ACCENT, TRAINED_ON: PALE, WEIGHTS_LEFT_OUT: WARM, RAW: MUTED}


def page(results: Results) -> Page:
    """The whole page."""
    sections = [
        _section(results, ARCHITECTURE, "Architectures left out"),
        _section(results, TASK, "Tasks left out"),
    ]
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
        [each for each in sections if each.parts],
        losses=results.losses(),
        method=[
            "For each architecture and each task an encoder is trained from the beginning on this lake's training runs "
            "without it, its best epoch chosen on validation runs without it; beside it stands an encoder trained on "
            "all, with as many epochs. Networks of what was left out, of test runs, ask for others of their task among "
            "all test networks of other runs. Seeds are averaged; intervals are 95% bootstrap over training runs."
        ],
        caveats=[
            "An encoder that a task was left out of knows all architectures from the lake's other tasks, and one that "
            "an architecture was left out of knows all tasks.",
            "The shipped encoder saw a thousand made-up tasks; what it knows of tasks nobody trained on is not "
            "measured here but by `python benchmarks/encoders.py`.",
        ],
    )


def summary(results: Results) -> str:
    """What the figures say."""
    said = [
        f"{kind}s that were left out {results.mean(kind, LEFT_OUT):.3f} (trained on "
        f"{results.mean(kind, TRAINED_ON):.3f}, raw responses {results.mean(kind, RAW):.3f})"
        for kind in (ARCHITECTURE, TASK)
        if results.units(kind)
    ]
    return f"Same-task MAP, the mean over what was left out: {'; '.join(said)}."


def _section(results: Results, kind: str, title: str) -> Section:
    units = results.units(kind)
    if not units:
        return Section(title, [])
    rows: list[list[str | Cell]] = [
        [
            unit.name,
            str(results.queries(unit)),
            *(_cell(results.of(unit, method)) for method in METHOD_TITLES),
            _cell(results.lead(unit, RAW), "{:+.3f}"),
        ]
        for unit in units
    ]
    return Section(
        title,
        [
            f"Same-task MAP of the networks of each {kind}, by encoders that were not trained on it and by one that "
            "was.",
            Table([kind.title(), "Queries", *METHOD_TITLES.values(), "Ahead of raw responses"], rows),
            Figure(_bars(results, units), f"Same-task MAP by {kind} and method."),
        ],
    )


def _cell(found: Resampled, form: str = "{:.3f}") -> Cell:
    estimate = found.estimate
    return Cell(form.format(estimate.mean), f"{form.format(estimate.low)} to {form.format(estimate.high)}")


def _bars(results: Results, units: list[Unit]) -> go.Figure:
    figure = go.Figure()
    for method, color in _COLORS.items():
        figure.add_bar(
            x=[plain(unit.name) for unit in units],
            y=[results.of(unit, method).value for unit in units],
            name=METHOD_TITLES[method],
            marker={"color": color},
            hovertemplate="%{x}: %{y:.3f}<extra>%{fullData.name}</extra>",
        )
    figure.update_yaxes(range=[0, 1])
    return styled(figure, 360)

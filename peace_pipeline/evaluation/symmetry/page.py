"""The page of the symmetry report: a heat table of families and actions, and how far broken twins move."""

from __future__ import annotations

import math
from collections.abc import Mapping

import plotly.graph_objects as go
import torch

from peace_pipeline.evaluation.invariance import (
    MOVED_AT_LEAST,
    NOISE,
    NOISE_AT_MOST,
    SHARES,
    Invariance,
)
from peace_pipeline.evaluation.look import MUTED, PALETTE, styled
from peace_pipeline.evaluation.page import Cell, Faults, Figure, Page, Section, Table
from peace_pipeline.evaluation.symmetry.results import Results, dtype_name, shares
from peace_pipeline.symmetry.testing import STRENGTHS, TOLERANCE

_STILL, _LIMIT, _MISS = (46, 139, 87), (255, 246, 214), (200, 50, 40)
"""Red, green and blue of a cell that doesn't move, that moves as far as it may, and that moves further."""
_DIGITS = {torch.float64: 14, torch.float32: 6}
"""Movements of 10^−digits count as none for the colour."""


def page(results: Results) -> Page:
    """The whole page."""
    missed = results.missed()
    sections = [_missed_section(missed)] if missed else []
    sections += [_still_section(results), _moved_section(results)]
    return Page(_summary(results), _facts(results), sections, method=_method(results))


def _summary(results: Results) -> str:
    cells = {
        dtype: [
            moved <= TOLERANCE[dtype]
            for measured in (results.own, results.families)
            for each in measured.values()
            for moved in each.still[dtype].values()
        ]
        for dtype in TOLERANCE
    }
    kept = " and ".join(
        f"{sum(within)} of {len(within)} cells within {TOLERANCE[dtype]:g} in {dtype_name(dtype)} "
        f"(largest {results.largest(dtype):.0e})"
        for dtype, within in cells.items()
    )
    own = [name for name, each in results.own.items() if each.sees_broken and each.ignores_noise]
    seen = len(results.families) - len(results.blind())
    return (
        f"Still under symmetries: {kept}. Moved by what changes the function: {len(own)} of {len(results.own)} "
        f"architectures of the lake's own networks as promised; {seen} of {len(results.families)} families of random "
        "ones."
    )


def _facts(results: Results) -> dict[str, str]:
    return {
        "families": str(len(results.families)),
        "of the lake's architectures": str(len(results.own)),
        "networks each": str(results.count),
        "promises missed": str(len(results.missed())),
        "encoder": results.encoder_version,
        "seed": str(results.seed),
    }


def _missed_section(missed: list[str]) -> Section:
    return Section("What misses", [Faults(missed)])


def _still_section(results: Results) -> Section:
    bounds = " and ".join(f"{bound:g} in {dtype_name(dtype)}" for dtype, bound in TOLERANCE.items())
    text = (
        "The largest movement of any coordinate of any network's embedding by its weights alone, in units of the "
        f"spread between networks. It must stay within {bounds}: green cells are far below, red ones miss. “–”: the "
        "family has no such symmetry."
    )
    return Section(
        "Still under symmetries",
        [
            text,
            "The lake's own networks, by architecture:",
            _heat(results.own),
            "Random networks of every family:",
            _heat(results.families),
        ],
    )


def _heat(measured: Mapping[str, Invariance]) -> Table:
    cells = [
        [
            name,
            *(_cell(each.still[dtype].get(symmetry), dtype) for dtype in TOLERANCE for symmetry in STRENGTHS),
        ]
        for name, each in measured.items()
    ]
    above = [(f"{dtype_name(dtype)}, within {bound:g}", len(STRENGTHS)) for dtype, bound in TOLERANCE.items()]
    return Table(["Networks", *STRENGTHS, *STRENGTHS], cells, above=above)


def _cell(moved: float | None, dtype: torch.dtype) -> str | Cell:
    if moved is None:
        return "–"
    if moved <= TOLERANCE[dtype]:
        return Cell(_short(moved), fill="rgb({},{},{},.75)".format(*_between(moved, dtype)))
    return Cell(_short(moved), passed=False, fill="rgb({},{},{})".format(*_MISS))


def _between(moved: float, dtype: torch.dtype) -> tuple[int, int, int]:
    """The colour of a movement within the bound, by its logarithm."""
    low, high = -_DIGITS[dtype], math.log10(TOLERANCE[dtype])
    share = min(max((math.log10(moved) - low) / (high - low), 0), 1) if moved else 0
    red, green, blue = (round(a + share * (b - a)) for a, b in zip(_STILL, _LIMIT, strict=True))
    return red, green, blue


def _short(moved: float) -> str:
    """``3e−13``."""
    return f"{moved:.0e}".replace("e-0", "e-").replace("e+00", "").replace("e+0", "e").replace("-", "−")


def _moved_section(results: Results) -> Section:
    parts: list[str | Table | Figure] = [
        "Broken twins keep every layer's statistics and lose the function. The mean movement must reach "
        f"{MOVED_AT_LEAST:g} with all units broken, and grow with their share; {NOISE:.0%} weight noise must stay "
        f"within {NOISE_AT_MOST:g}.",
        "The lake's own networks, by architecture, which the promise is about:",
        _movements(results.own),
    ]
    if results.own:
        caption = "Mean movement by the share of broken units, a line an architecture; the dashed line is the target."
        parts.append(Figure(_broken_curve(results.own), caption))
    parts += [
        "Random networks of every family: the encoder has seen no such weights, so they are shown and counted, no "
        f"more. {len(results.blind())} of {len(results.families)} move too little or not in order, "
        f"{len(results.restless())} too far under noise.",
        _movements(results.families),
    ]
    return Section("Moved by what changes the function", parts)


def _movements(measured: Mapping[str, Invariance]) -> Table:
    header = ["Networks", *(f"{share:.0%} broken" for share in SHARES), f"{NOISE:.0%} noise"]
    rows: list[list[str | Cell]] = [
        [
            name,
            *shares(each)[:-1],
            Cell(shares(each)[-1], passed=each.sees_broken),
            Cell(f"{each.noise:.3f}", passed=each.ignores_noise),
        ]
        for name, each in measured.items()
    ]
    return Table(header, rows)


def _broken_curve(measured: Mapping[str, Invariance]) -> go.Figure:
    """Mean movement by share of broken units."""
    figure = go.Figure()
    for place, (name, each) in enumerate(measured.items()):
        figure.add_scatter(
            x=list(SHARES),
            y=[each.broken[share] for share in SHARES],
            name=name,
            mode="lines+markers",
            line={"color": PALETTE[place % len(PALETTE)]},
        )
    figure.add_hline(
        MOVED_AT_LEAST, line={"dash": "dash", "color": MUTED}, annotation_text="target with all units broken"
    )
    figure.update_xaxes(title="share of broken units", tickformat=".0%", range=[0, 1.05])
    figure.update_yaxes(title="mean movement / spread", rangemode="tozero")
    return styled(figure, 360)


def _method(results: Results) -> list[str]:
    left_out = "".join(
        f" {networks:,} networks whose symmetries are known are {why}: they are left out."
        for networks, why in (
            (results.too_few, "of architectures with fewer"),
            (results.too_large, "larger than what is measured here"),
        )
        if networks
    )
    return [
        f"For each row {results.count} networks. The spread is the mean over coordinates of the standard deviation "
        "over the untransformed networks. Every network is moved by its own random element: permutations of "
        "units; of heads; positive scales of 10^±2; signs; mixed bases (gains, shifts, maps of each head, "
        "rotations, orthogonal and linear maps); all at once.",
        "Random networks have the tensors that the family's library saves (a small model's). Their weights differ "
        "in the decay of their spectrum and their rank, tails, sparsity, correlation of rows, smoothness of "
        "kernels, and the size of units and layers; norms and biases are random too. Actions change the tensors "
        "as files hold them, before norms are folded in.",
        "The lake's own networks: drawn at random by architecture, those that were not trained on first."
        f"{left_out} Actions change what the lake holds of them: norms are folded in and large layers reduced "
        "already.",
    ]

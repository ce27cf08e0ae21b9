"""How still embeddings stay under every action on every family, and how far broken twins and noise move them.

python benchmarks/invariance.py [--home .peace] [--networks 32]

Exits 1 where a symmetry moves an embedding further than rounding does, or where broken twins or noise of the lake's own
networks miss their targets. Those of random networks are shown and counted: the encoder learned from no such weights.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping

import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from peace_pipeline.evaluation.invariance import (
    MOVED_AT_LEAST,
    NOISE_AT_MOST,
    SHARES,
    Invariance,
)
from peace_pipeline.evaluation.symmetry.results import dtype_name
from peace_pipeline.evaluation.symmetry.study import NETWORKS, measure_all
from peace_pipeline.lake import Lake
from peace_pipeline.symmetry.testing import STRENGTHS, TOLERANCE


def main() -> None:
    """Measure the current encoder of a lake."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--home", default=None, help="the lake (default $PEACE_HOME, else .peace)")
    parser.add_argument("--networks", type=int, default=NETWORKS, help="networks of each family")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("measuring", total=None)
        results = measure_all(
            Lake.open(arguments.home),
            count=arguments.networks,
            seed=arguments.seed,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    console = Console(width=140)
    console.print(
        f"Encoder {results.encoder_version}: movement in units of the spread between {results.count} networks"
    )
    for title, measured in (
        ("the lake's own networks", results.own),
        ("random networks", results.families),
    ):
        for dtype in TOLERANCE:
            console.print(still(f"{dtype_name(dtype)}, {title}", measured, dtype))
        console.print(moved(f"broken twins and noise, {title}", measured))
    console.print(
        f"Of {len(results.families)} families of random networks {len(results.blind())} are moved too little by "
        f"broken twins or not in order, {len(results.restless())} too far by noise."
    )
    missed = results.missed()
    for line in missed:
        console.print(f"[red]✗ {line}[/]")
    sys.exit(bool(missed))


def still(title: str, measured: Mapping[str, Invariance], dtype: torch.dtype) -> Table:
    """Largest movements under each symmetry."""
    table = _table(title, list(STRENGTHS))
    for name, each in measured.items():
        values = (each.still[dtype].get(symmetry) for symmetry in STRENGTHS)
        table.add_row(name, *("–" if x is None else _mark(f"{x:.1e}", x <= TOLERANCE[dtype]) for x in values))
    table.add_row("target", *[f"≤ {TOLERANCE[dtype]:g}"] * len(STRENGTHS), style="dim")
    return table


def moved(title: str, measured: Mapping[str, Invariance]) -> Table:
    """Mean movements of broken twins and under noise."""
    table = _table(title, [*(f"{share:.0%} broken" for share in SHARES), "noise"])
    for name, each in measured.items():
        broken = [f"{each.broken[share]:.2f}" for share in SHARES]
        broken[-1] = _mark(broken[-1], each.sees_broken)
        table.add_row(name, *broken, _mark(f"{each.noise:.3f}", each.ignores_noise))
    table.add_row("target", "", "growing", "", f"≥ {MOVED_AT_LEAST:g}", f"≤ {NOISE_AT_MOST:g}", style="dim")
    return table


def _table(title: str, columns: list[str]) -> Table:
    table = Table(title=title)
    table.add_column("")
    for name in columns:
        table.add_column(name, justify="right")
    return table


def _mark(text: str, passed: bool) -> str:
    return f"[green]{text} ✓[/]" if passed else f"[red]{text} ✗[/]"


if __name__ == "__main__":
    main()

"""How still embeddings stay under permutation and scaling, and how far broken twins and noise move them.

python benchmarks/invariance.py [--home .peace] [--networks 64]
"""

from __future__ import annotations

import argparse

import torch
from rich.console import Console
from rich.progress import track
from rich.table import Table

from peace_pipeline.encoder import store
from peace_pipeline.evaluation.invariance import (
    MOVED_AT_LEAST,
    NOISE_AT_MOST,
    SHARES,
    SYMMETRIES,
    TOLERANCE,
    Invariance,
    measure,
)
from peace_pipeline.evaluation.population import read_members
from peace_pipeline.evaluation.retrieval import invariance_samples
from peace_pipeline.lake import Lake
from peace_pipeline.zoo.catalog import networks


def main() -> None:
    """Measure the current encoder of a lake on networks that it was not trained on."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--home", default=None, help="the lake (default $PEACE_HOME, else .peace)")
    parser.add_argument("--networks", type=int, default=64, help="networks of each architecture, at most")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    lake = Lake.open(arguments.home)
    version, encoder = store.load(lake)
    samples = invariance_samples(networks(lake), arguments.seed, arguments.networks)
    table = Table(title=f"Encoder {version}: movement in units of the spread between networks")
    for name in (
        "architecture",
        "networks",
        "dtype",
        *SYMMETRIES,
        *(f"broken {s:.0%}" for s in SHARES),
        "noise",
    ):
        table.add_column(name, justify="left" if name in ("architecture", "dtype") else "right")
    for name, sample in track(samples.items(), "measuring", console=Console(stderr=True)):
        inputs = [member.as_input() for member in read_members(lake, sample)]
        for dtype in TOLERANCE:
            table.add_row(name, *row(measure(encoder, inputs, dtype, arguments.seed)))
    for dtype, bound in TOLERANCE.items():
        targets = [*[f"≤ {bound:g}"] * len(SYMMETRIES), "", "growing", "", f"≥ {MOVED_AT_LEAST}"]
        table.add_row("target", "", _name(dtype), *targets, f"≤ {NOISE_AT_MOST}", style="dim")
    Console().print(table)


def row(found: Invariance) -> list[str]:
    """The cells of one measurement."""
    bound = TOLERANCE[found.dtype]
    still = [_mark(f"{value:.1e}", value <= bound) for value in found.symmetries.values()]
    broken = [f"{found.broken[share]:.2f}" for share in SHARES]
    broken[-1] = _mark(broken[-1], found.sees_broken)
    noise = _mark(f"{found.noise:.3f}", found.ignores_noise)
    return [str(found.networks), _name(found.dtype), *still, *broken, noise]


def _mark(text: str, passed: bool) -> str:
    return f"[green]{text} ✓[/]" if passed else f"[red]{text} ✗[/]"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


if __name__ == "__main__":
    main()

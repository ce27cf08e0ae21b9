"""How training scales: memory, networks a second and the share of time it waits for data, by the number of networks.

    python benchmarks/training.py --home LAKE [--networks 1000 10000] [--validation 2000]

Draws pairs among so many of the lake's training networks and trains for an epoch on them, each in a process of its own
that works in a new lake with the tables of the old one: nothing is written to LAKE. Memory is that of the process and
its data loader together, without files of which the system keeps pages in memory: the most that was seen, looked at
five times a second.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from rich.console import Console
from rich.table import Table

from peace_pipeline.evaluation.retraining import TABLES
from peace_pipeline.lake import Lake

FIGURES = ("networks_per_second", "share_waiting_for_data", "validation_map")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--home", type=Path, default=Lake.open().root)
    parser.add_argument("--networks", type=int, nargs="+", default=[1_000, 10_000])
    parser.add_argument("--validation", type=int, default=2_000)
    parser.add_argument("--measure", choices=("pairs", "train"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measured(arguments)
        return
    shown = Table("networks", "pairs: MB", "s", "training: MB", "s", *FIGURES)
    for networks in arguments.networks:
        with tempfile.TemporaryDirectory(dir=Lake.open().root) as folder:
            for name in TABLES:
                (Path(folder) / name).symlink_to((arguments.home / name).absolute())
            sizes = ["--networks", str(networks), "--validation", str(arguments.validation)]
            costs = [alone(["--home", folder, "--measure", what, *sizes]) for what in ("pairs", "train")]
            found, figures = figures_of(Lake(Path(folder)))
        spent = (f"{figure:,.0f}" for cost in costs for figure in cost)
        shown.add_row(f"{found:,}", *spent, *(f"{figure:.3g}" for figure in figures))
    Console(width=140).print(shown)


def measured(arguments: argparse.Namespace) -> None:
    """Draw the pairs of a lake, or train on them."""
    from peace_pipeline.encoder.settings import PairSettings, Settings
    from peace_pipeline.progress import in_lines
    from peace_pipeline.stages.pairs import write_pairs
    from peace_pipeline.stages.train import train

    lake = Lake.open(arguments.home)
    if arguments.measure == "pairs":
        write_pairs(lake, PairSettings(networks=arguments.networks[0]))
    else:
        tell = in_lines("training", lambda line: print(line, file=sys.stderr, flush=True))
        train(lake, Settings(epochs=1, validation=arguments.validation), tell)


def alone(arguments: list[str]) -> tuple[float, float]:
    """Run this file in a process of its own; the most memory (MB) of it and its children, and seconds."""
    began, most = time.monotonic(), 0
    process = subprocess.Popen([sys.executable, __file__, *arguments])
    while process.poll() is None:
        most = max(most, sum(map(own_memory, family(process.pid))))
        time.sleep(0.2)
    if process.returncode:
        sys.exit(process.returncode)
    return most / 1000, time.monotonic() - began


def family(pid: int) -> list[int]:
    """A process and its children."""
    with suppress(OSError):
        return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
    return []


def own_memory(pid: int) -> int:
    """Memory of a process in kB without pages of files; pages that processes share count in parts."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss_Anon:"):
                return int(line.split()[1])
    return 0


def figures_of(lake: Lake) -> tuple[int, list[float]]:
    """How many networks the lake's encoder was trained on, and how it went."""
    from mlflow import MlflowClient

    from peace_pipeline.encoder.store import CONFIG, own_version
    from peace_pipeline.lake.tracking import experiment
    from peace_pipeline.stages.train import EXPERIMENT

    config = json.loads((lake.encoders / str(own_version(lake)) / CONFIG).read_text())
    (run,) = MlflowClient(lake.mlflow_uri).search_runs([experiment(lake, EXPERIMENT)])
    return config["training"]["networks"], [run.data.metrics[name] for name in FIGURES]


if __name__ == "__main__":
    main()

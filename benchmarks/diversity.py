"""What it is worth to learn from more tasks: 100, 300 and 1,000 of them, at as many networks and steps; and at as many
steps alone, with all their networks.

    python benchmarks/diversity.py --home LAKE [--epochs 2] [--seeds 3]

The lake is of a zoo like the one that the shipped encoder learned from, of as many tasks and fewer networks of each: it
is trained, run and embedded first, where it isn't there yet. The encoders are those of the report `ablation`, which
asks the same of a lake's own tasks: drawn anew with each seed, judged by test networks of tasks that none of them
learned from. Epochs are of all networks of training runs; what is done is kept in the lake, so that a run that was
stopped goes on.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace

from peace_pipeline.definitions import Pass, defs
from peace_pipeline.evaluation.ablation.diversity import few_tasks
from peace_pipeline.evaluation.embedder import PEACE, WEIGHTS_ALONE
from peace_pipeline.evaluation.resampling import Resampled, Resampling
from peace_pipeline.evaluation.retraining import Judge, Size, Trainings, over_seeds
from peace_pipeline.lake import Lake
from peace_pipeline.progress import in_lines, listening, track
from peace_pipeline.zoo.trained import PLANS, generate
from peace_pipeline.zoo.trained.pretraining import PRETRAINING

TASKS = replace(PRETRAINING, name="tasks", networks=6_000, architectures=5, seeds=1, early=0, twins=0)
"""A network of each of five architectures of each of 1,200 tasks."""


def main() -> None:
    """Train, judge, print; how far that has come stands on stderr."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--home", default=None, help="the lake (default $PEACE_HOME, else .peace)")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=Size.seeds)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with listening(lambda description: in_lines(description, lambda line: print(line, file=sys.stderr))):
        measure(Lake.open(arguments.home), Size(arguments.epochs, arguments.seeds), arguments.seed)


def measure(lake: Lake, size: Size, seed: int) -> None:
    """Make the zoo, train encoders, judge them, print a table."""
    make_zoo(lake)
    judge = Judge.of(lake, size.networks, seed)
    trainings = Trainings(lake)
    arms = [
        arm
        for all_networks in (False, True)
        for arm in few_tasks(trainings, judge, size, seed, track("Training"), all_networks=all_networks)
    ]
    resampling = Resampling.of([listing.run for listing in judge.listings], seed)
    raw = judge.baseline("raw_responses")
    print(f"{len(judge.networks)} networks to judge by, {size.seeds} seeds\n")
    print(
        "| tasks | of them seen | networks | epochs | MAP, both senses | weights alone |\n|---|---|---|---|---|---|"
    )
    for arm in arms:
        cells = [_figure(over_seeds(arm.found[method], resampling)) for method in (PEACE, WEIGHTS_ALONE)]
        print(f"| {arm.tasks:,} | {arm.seen:,} | {arm.networks:,} | {arm.epochs} | {' | '.join(cells)} |")
    print(f"\nraw responses: {_figure(over_seeds([judge.found(raw)], resampling))}")


def make_zoo(lake: Lake) -> None:
    """Train what is missing of the zoo, and index what is missing in the lake."""
    PLANS[TASKS.name] = TASKS
    zoo = generate(lake.root / "zoo-of-tasks", recipe=TASKS.name, progress=track("Training networks"))
    config = lake.root / "peace.toml"
    config.write_text(f'[[source]]\nkind = "directory"\npath = "{zoo.relative_to(lake.root)}"\n')
    Pass(defs, lake, str(config)).run()


def _figure(found: Resampled) -> str:
    estimate = found.estimate
    return f"{estimate.mean:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


if __name__ == "__main__":
    main()

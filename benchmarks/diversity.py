"""What it is worth to learn from more tasks, at as many networks and steps: 100, 300 and 1,000 of them.

    python benchmarks/diversity.py --home LAKE [--epochs 6] [--seeds 3]

The lake holds a zoo of more than 1,000 tasks (`peace run` of one of the recipe `pretraining`); of a smaller one there
are fewer arms. The encoders are those of the report `ablation`, which asks the same of the lake's own tasks: drawn anew
with each seed, judged by test networks of tasks that none of them learned from. Epochs are of all networks of training
runs; what was trained is kept in the lake, so that a run that was stopped goes on.
"""

from __future__ import annotations

import argparse

from peace_pipeline.evaluation.ablation.diversity import few_tasks
from peace_pipeline.evaluation.embedder import PEACE, WEIGHTS_ALONE
from peace_pipeline.evaluation.resampling import Resampled, Resampling
from peace_pipeline.evaluation.retraining import Judge, Size, Trainings, over_seeds
from peace_pipeline.lake import Lake
from peace_pipeline.progress import track


def main() -> None:
    """Train, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--home", default=None, help="the lake (default $PEACE_HOME, else .peace)")
    parser.add_argument("--epochs", type=int, default=Size.epochs)
    parser.add_argument("--seeds", type=int, default=Size.seeds)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    lake, seed = Lake.open(arguments.home), arguments.seed
    size = Size(arguments.epochs, arguments.seeds)
    judge = Judge.of(lake, size.networks, seed)
    arms = few_tasks(Trainings(lake), judge, size, seed, track("Training"))
    resampling = Resampling.of([listing.run for listing in judge.listings], seed)
    raw = judge.baseline("raw_responses")
    print(f"{len(judge.networks)} networks to judge by, {size.seeds} seeds\n")
    print("| tasks | networks | epochs | MAP, both senses | weights alone |\n|---|---|---|---|---|")
    for arm in arms:
        cells = [_figure(over_seeds(arm.found[method], resampling)) for method in (PEACE, WEIGHTS_ALONE)]
        print(f"| {arm.tasks:,} | {arm.networks:,} | {arm.epochs} | {' | '.join(cells)} |")
    print(f"\nraw responses: {_figure(over_seeds([judge.found(raw)], resampling))}")


def _figure(found: Resampled) -> str:
    estimate = found.estimate
    return f"{estimate.value:.3f} [{estimate.low:.3f}, {estimate.high:.3f}]"


if __name__ == "__main__":
    main()

"""How near `peace recommend` comes to running every network of an index on the examples.

    python benchmarks/recommend.py --home LAKE [--draws 20] [--seed 0]

Every network that was run is run on the training examples of each target task of the transfer report. Then some of
them are run where PEACE's vectors, or one sense of them alone, say which, and as many by lot.
Figures are of the best five by evidence that so are found: how far their mean goes from the median network (0) to the
best five of all (1), in the mean over targets and seeds, with a 95% bootstrap interval over targets.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import suppress

import numpy as np

from peace_pipeline.evaluation.transfer.results import nested
from peace_pipeline.evaluation.transfer.targets import TARGETS, TEXT, Target, draw
from peace_pipeline.index.exploring import explore
from peace_pipeline.index.search import open_vectors
from peace_pipeline.lake import Lake
from peace_pipeline.progress import track
from peace_pipeline.responses.examples import Examples
from peace_pipeline.responses.runners.model import CannotRun
from peace_pipeline.responses.running import Limits
from peace_pipeline.stages.recommend import tried_on
from peace_pipeline.weights.unusable import UnusableModel
from peace_pipeline.zoo.fetching import Fetcher

BUDGETS, SEEDS, BEST = (16, 32, 64), 3, 5
Choose = Callable[[np.ndarray, int], list[int]]


def main() -> None:
    """Run all, choose, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--home", default=None, help="the lake (default $PEACE_HOME, else .peace)")
    parser.add_argument("--draws", type=int, default=20, help="of a choice by lot")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    lake = Lake.open(arguments.home)
    table, _ = open_vectors(lake)
    columns = ["model_id", "vector", "weights", "responses"]
    found = table.search().where("responses IS NOT NULL").select(columns).limit(None).to_arrow()
    names = found["model_id"].to_pylist()
    vectors = {
        "PEACE": "vector",
        "PEACE, weights alone": "weights",
        "PEACE, responses alone": "responses",
    }
    senses = {title: np.array(found[name].to_pylist(), np.float32) for title, name in vectors.items()}
    targets = [target for target in TARGETS if target.kind != TEXT]
    scores = _scores(lake, names, targets)
    print(f"{len(names)} networks, {len(targets)} targets × {SEEDS} seeds, seed {arguments.seed}\n")
    print(f"| the best {BEST} of | {' | '.join(f'{budget} run' for budget in BUDGETS)} |")
    print(f"|---|{'---|' * len(BUDGETS)}")

    def guided(rows: np.ndarray) -> Choose:
        rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)

        def choose(values: np.ndarray, budget: int) -> list[int]:
            return list(explore(rows, lambda at: None if np.isnan(values[at]) else float(values[at]), budget))

        return choose

    for title, rows in senses.items():
        _row(title, guided(rows), scores, arguments.seed, 1)
    rng = np.random.default_rng(arguments.seed)

    def by_lot(values: np.ndarray, budget: int) -> list[int]:
        return rng.permutation(np.flatnonzero(~np.isnan(values)))[:budget].tolist()

    _row("a choice by lot", by_lot, scores, arguments.seed, arguments.draws)


def _scores(lake: Lake, names: list[str], targets: list[Target]) -> np.ndarray:
    """Evidence (targets, seeds, networks); NaN where a network doesn't take the examples."""
    scores = np.full((len(targets), SEEDS, len(names)), np.nan)
    progress, began, fetcher = track("Running all"), time.monotonic(), Fetcher.of(lake)
    fitting = list(enumerate(names))
    for at in np.ndindex(scores.shape[:2]):
        part = draw(targets[at[0]], at[1]).train
        examples = Examples.of(part.numbers, part.labels)
        for place, name in fitting:
            with suppress(CannotRun, UnusableModel):
                found, _ = tried_on(lake, name, examples, fetcher, Limits())
                scores[(*at, place)] = found.evidence
        fitting = [
            each for each in fitting if not np.isnan(scores[(*at, each[0])])
        ]  # all examples are 64 numbers
        if progress:
            progress(at[0] * SEEDS + at[1] + 1, len(targets) * SEEDS, targets[at[0]].name)
    print(f"all were run in {time.monotonic() - began:.0f} s")
    return scores


def _row(title: str, choose: Choose, scores: np.ndarray, seed: int, draws: int) -> None:
    cells = []
    for budget in BUDGETS:
        shares = np.empty(scores.shape[:2])
        for at in np.ndindex(shares.shape):
            values = scores[at]
            best, middle = _best(values), np.nanmedian(values)
            found = [_best(values[choose(values, budget)]) for _ in range(draws)]
            shares[at] = (np.mean(found) - middle) / (best - middle)
        estimate = nested(shares, seed)
        cells.append(f"{estimate.mean:.2f} [{estimate.low:.2f}, {estimate.high:.2f}]")
    print(f"| {title} | {' | '.join(cells)} |", flush=True)


def _best(values: np.ndarray) -> float:
    return float(np.sort(values[~np.isnan(values)])[-BEST:].mean())


if __name__ == "__main__":
    main()

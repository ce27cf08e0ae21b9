"""Trains the demo zoo in a temporary folder and prints how good and how fast it is.

    python benchmarks/zoo.py [--networks 450] [--seed 0]

"Of the way" is the share of the way from chance to a random forest on the same split that the median network
goes, over final networks with true labels and all of the data.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table

from peace_pipeline.zoo.trained import generate, load_task


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--networks", type=int, default=450)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory() as folder:
        wall = time.perf_counter()
        zoo = generate(Path(folder), networks=arguments.networks, seed=arguments.seed)
        wall = time.perf_counter() - wall
        used = os.times()
        cards = [
            yaml.safe_load(path.read_text().split("---\n")[1]) for path in sorted(zoo.glob("*/README.md"))
        ]
    console.print(accuracies(cards))
    cpu = used.user + used.system + used.children_user + used.children_system
    console.print(
        f"{len(cards)} networks in {wall:.1f} s and {cpu:.1f} CPU-seconds: {len(cards) / cpu:.2f} per CPU-second"
    )


def accuracies(cards: list[dict]) -> Table:
    """One row for each task and architecture."""
    cells: dict[tuple[str, str], list[dict]] = defaultdict(list)
    for card in cards:
        cells[card["datasets"][0], card["tags"][1]].append(card)
    forests = {task: forest(task) for task, _ in cells}
    table = Table("task", "architecture", "networks", "median accuracy", "chance", "forest", "of the way")
    for (task, architecture), members in cells.items():
        median = statistics.median(score(card) for card in members if well_trained(card))
        chance = load_task(task).chance
        way = (median - chance) / (forests[task] - chance)
        figures = [f"{x:.3f}" for x in (median, chance, forests[task], way)]
        table.add_row(task, architecture, str(len(members)), *figures)
    return table


def well_trained(card: dict) -> bool:
    """Whether a card is of a final network with true labels and all of the data."""
    h = card["hyperparameters"]
    return not h["early"] and h["labels"] == "true" and h["data_fraction"] == 1


def score(card: dict) -> float:
    """The test accuracy that a card reports."""
    return card["model-index"][0]["results"][0]["metrics"][0]["value"]


def forest(name: str) -> float:
    """Test accuracy of scikit-learn's random forest on the same split."""
    from sklearn.ensemble import RandomForestClassifier

    task = load_task(name)
    return (
        RandomForestClassifier(random_state=0).fit(task.x_train, task.y_train).score(task.x_test, task.y_test)
    )


if __name__ == "__main__":
    main()

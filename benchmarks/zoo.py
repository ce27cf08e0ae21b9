"""Trains a zoo and prints how good and how fast it is.

    python benchmarks/zoo.py [--recipe demo] [--networks N] [--seed 0] [--root FOLDER]

Networks that lie in FOLDER already are not trained again (default: a temporary folder). "Of the way" is the share of
the way from chance to the task's baseline on the same split that the median network goes, over final networks with
true labels, all of the data and no attack. Quantiles are over all networks of a cell. Of zoos on made-up data there is
a row for each kind of data instead: final networks with true labels and no attack, on their way from chance to 1.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import yaml
from rich.console import Console
from rich.table import Table

from peace_pipeline.zoo.trained import PLANS, Task, generate, load_task

Card = dict
TWINS = {"backdoor": "trigger_success", "adversarial": "robust_accuracy"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--recipe", choices=PLANS, default="demo")
    parser.add_argument("--networks", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int)
    parser.add_argument("--root", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = arguments.root or Path(folder)
        wall = time.perf_counter()
        zoo = generate(
            root,
            recipe=arguments.recipe,
            networks=arguments.networks,
            seed=arguments.seed,
            processes=arguments.processes,
        )
        wall = time.perf_counter() - wall
        cards = {path.parent.name: card(path) for path in sorted(zoo.glob("*/README.md"))}
        chunks = [json.loads(path.read_text()) for path in (root / f".{arguments.recipe}").glob("*.json")]
    console = Console(width=170)
    made_up = any("kind_of_data" in item["hyperparameters"] for item in cards.values())
    console.print((kinds_of_data if made_up else accuracies)(list(cards.values())))
    console.print(twins(cards))
    console.print(costs(cards, chunks))
    cpu = sum(chunk["cpu_seconds"] for chunk in chunks)
    console.print(f"{len(cards)} networks in {cpu:.0f} CPU-seconds: {len(cards) / cpu:.2f} per CPU-second")
    console.print(f"generate() took {wall:.0f} s")


def card(path: Path) -> Card:
    """The front matter of a README.md, its metrics as a dictionary under ``metrics``."""
    front = yaml.safe_load(path.read_text().split("---\n")[1])
    (result,) = front["model-index"][0]["results"]
    return front | {"metrics": {metric["type"]: metric["value"] for metric in result["metrics"]}}


def accuracies(cards: list[Card]) -> Table:
    """One row for each task and architecture."""
    cells: dict[tuple[str, str], list[Card]] = defaultdict(list)
    for item in cards:
        cells[item["datasets"][0], item["tags"][1]].append(item)
    tasks = {name: load_task(name) for name, _ in cells}
    baselines = {name: baseline(task) for name, task in tasks.items()}
    table = Table(
        *("task", "architecture", "networks", "10%", "90%", "well trained", "their median"),
        *("chance", "baseline", "its accuracy", "of the way"),
    )
    for (name, architecture), members in sorted(cells.items()):
        low, high = np.quantile([item["metrics"]["accuracy"] for item in members], [0.1, 0.9])
        good = [item["metrics"]["accuracy"] for item in members if well_trained(item)]
        median, chance, (rival, reached) = np.median(good), tasks[name].chance, baselines[name]
        way = (median - chance) / (reached - chance)
        counts = f"{len(members)}", f"{low:.3f}", f"{high:.3f}", f"{len(good)}", f"{median:.3f}"
        table.add_row(name, architecture, *counts, f"{chance:.3f}", rival, f"{reached:.3f}", f"{way:.2f}")
    return table


def kinds_of_data(cards: list[Card]) -> Table:
    """One row for each kind of made-up data."""
    kinds: dict[tuple[str, str], list[Card]] = defaultdict(list)
    for item in cards:
        h = item["hyperparameters"]
        if not h["early"] and h["labels"] == "true" and "twin_of" not in h:
            kinds[h["split"], h["kind_of_data"]].append(item)
    chances = {name: load_task(name).chance for name in {item["datasets"][0] for item in cards}}
    table = Table(
        "split", "kind of data", "tasks", "networks", "chance", "10%", "median", "90%", "of the way"
    )
    for (split, kind), members in sorted(kinds.items()):
        tasks = [item["datasets"][0] for item in members]
        reached = np.array([item["metrics"]["accuracy"] for item in members])
        chance = np.array([chances[task] for task in tasks])
        figures = (np.median(chance), *np.quantile(reached, [0.1, 0.5, 0.9]))
        way = np.median((reached - chance) / (1 - chance))
        counts = f"{len(set(tasks))}", f"{len(members)}"
        table.add_row(split, kind, *counts, *(f"{figure:.3f}" for figure in figures), f"{way:.2f}")
    return table


def well_trained(item: Card) -> bool:
    """Whether a card is of a final network with true labels and all of the data, and clean."""
    h = item["hyperparameters"]
    return not h["early"] and h["labels"] == "true" and h["data_fraction"] == 1 and "twin_of" not in h


def twins(cards: dict[str, Card]) -> Table:
    """For each kind of hard negative what sets it apart from its clean twin: medians, and the pairs told apart."""
    table = Table(
        "twin", "metric", "architecture", "pairs", "of the twin", "of the clean", "twin above clean"
    )
    for kind, metric in TWINS.items():
        pairs: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for item in cards.values():
            if kind in item["hyperparameters"]:
                partner = cards[item["hyperparameters"]["twin_of"]]
                pair = item["metrics"][metric], partner["metrics"][metric]
                pairs[item["tags"][1]].append(pair)
        for architecture, found in sorted(pairs.items()):
            values = np.array(found)
            twin, clean = np.median(values, 0)
            above = (values[:, 0] > values[:, 1]).mean()
            row = f"{len(found)}", f"{twin:.3f}", f"{clean:.3f}", f"{above:.0%}"
            table.add_row(kind, metric, architecture, *row)
    return table


def costs(cards: dict[str, Card], chunks: list[dict]) -> Table:
    """Networks per CPU-second by architecture."""
    seconds: dict[str, float] = defaultdict(float)
    networks: dict[str, int] = defaultdict(int)
    for chunk in chunks:
        architecture = cards[chunk["networks"][0]]["tags"][1]
        seconds[architecture] += chunk["cpu_seconds"]
        networks[architecture] += len(chunk["networks"])
    table = Table("architecture", "networks", "CPU-seconds", "networks per CPU-second")
    for name, spent in sorted(seconds.items()):
        table.add_row(name, f"{networks[name]}", f"{spent:.0f}", f"{networks[name] / spent:.2f}")
    return table


def baseline(task: Task) -> tuple[str, float]:
    """Name and test accuracy of a simple method on the same split."""
    name, method = ("naive Bayes, 1-3-grams", bayes) if task.is_text else ("random forest", forest)
    return name, method(task)


def forest(task: Task) -> float:
    from sklearn.ensemble import RandomForestClassifier

    model = RandomForestClassifier(random_state=0)
    return model.fit(task.x_train, task.y_train).score(task.x_test, task.y_test)


def bayes(task: Task) -> float:
    """Multinomial naive Bayes over counts of runs of one to three characters, the word's ends included."""
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.naive_bayes import MultinomialNB
    from sklearn.pipeline import make_pipeline

    counts = CountVectorizer(analyzer="char", ngram_range=(1, 3), lowercase=False, preprocessor=spelled)
    model = make_pipeline(counts, MultinomialNB())
    return model.fit(task.x_train, task.y_train).score(task.x_test, task.y_test)


def spelled(ids: np.ndarray) -> str:
    return "".join(chr(ord("0") + number) for number in ids)


if __name__ == "__main__":
    main()

"""Same-task retrieval: clean final networks ask for networks of their task in other runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .learning import Pairs
from .methods import PEACE, WEIGHTS, Training, costs, every, reads_weights_alone, unlearned
from .scoring import Floats, average_precision, figure, ordered
from .tables import Cells, Table
from .untrained import Compared
from .zoo import Mask, Places, Zoo

NOTE = (
    "MAP with 95% bootstrap intervals over queries; ± is half the range over seeds, in parentheses how much better "
    "PEACE (or its weights sense, among those that read weights alone) does on the same queries. What a "
    "method can't compare counts as not found."
)
FINAL = "final networks"
RELATIONS = ("all other runs", "other architectures", "same architecture")


def measure(zoo: Zoo, training: Training, left_out: Sequence[str] = ()) -> list[Table]:
    """Tables of all clean final networks against the whole zoo, by methods that learn nothing of its tasks, and of
    those of test runs among each other, by every method.

    Data sets that begin with one of ``left_out`` are a part of their own. In a zoo without training runs nothing can
    be learned, and nothing is held out.
    """
    everyone = np.arange(len(zoo))
    test = np.flatnonzero(zoo.splits == "test")
    tables = _tables("Whole zoo", zoo, unlearned(zoo, training), everyone[zoo.clean], everyone, left_out)
    if (zoo.splits == "train").any():
        methods = every(zoo, training)
        tables += _tables("Held-out runs", zoo, methods, test[zoo.clean[test]], test, left_out)
        tables.append(costs(zoo, training, Pairs(zoo)))
    return tables


def _tables(
    title: str,
    zoo: Zoo,
    methods: Mapping[str, list[Compared]],
    queries: Places,
    gallery: Places,
    left_out: Sequence[str],
) -> list[Table]:
    """By gallery, and then in the gallery of final networks by the queries' data and architecture."""
    columns = _columns(zoo, queries, gallery, left_out)
    found: dict[str, dict[str, dict[str, Floats]]] = {name: {} for name in columns}
    for method, seeds in methods.items():
        scores: dict[tuple[str, str], list[Floats]] = {}
        for compared in seeds:
            order = ordered(compared(queries, gallery))
            for table, parts in columns.items():
                for column, (rows, relevant, kept) in parts.items():
                    scored = np.full(len(queries), np.nan)
                    scored[rows] = average_precision(order[rows], relevant[rows], kept[rows])
                    scores.setdefault((table, column), []).append(scored)
        for (table, column), each in scores.items():
            found[table].setdefault(method, {})[column] = np.stack(each)
    runs = zoo.attributes.run[queries]
    tables = [_table(f"{title}, {name}", values, runs, PEACE) for name, values in found.items()]
    by_weights = {name: row for name, row in found[FINAL].items() if reads_weights_alone(name)}
    if WEIGHTS in by_weights:
        tables.append(_table(f"{title}, {FINAL}, by weights alone", by_weights, runs, WEIGHTS))
    return tables


Part = tuple[Mask, Mask, Mask]
"""Which queries ask, what is relevant to each, and what is in each one's gallery."""


def _columns(
    zoo: Zoo, queries: Places, gallery: Places, left_out: Sequence[str]
) -> dict[str, dict[str, Part]]:
    """Table → column → the queries that ask there, with what they look for."""
    relevant, other_runs = zoo.relevance(queries, gallery)
    same = zoo.architectures[queries][:, None] == zoo.architectures[gallery]
    relations = dict(zip(RELATIONS, (np.ones_like(same), ~same, same), strict=True))
    everyone = np.ones(len(queries), bool)
    galleries = {"clean final networks": zoo.clean, FINAL: zoo.final}
    galleries["early checkpoints too"] = np.ones(len(zoo), bool)
    tables = {
        name: {
            relation: (everyone, relevant, other_runs & part & kept[gallery])
            for relation, part in relations.items()
        }
        for name, kept in galleries.items()
    }
    final = other_runs & zoo.final[gallery]
    data = np.array([name.split("-")[0] for name in zoo.tasks[queries]])
    parts = {name: data == name for name in np.unique(data)}
    if left_out:
        parts["left out"] = np.array([name.startswith(tuple(left_out)) for name in zoo.tasks[queries]])
    architectures = {
        name: zoo.architectures[queries] == name for name in np.unique(zoo.architectures[queries])
    }
    for relation in RELATIONS[:2]:
        kept = final & relations[relation]
        tables[f"by data, {relation}"] = {name: (rows, relevant, kept) for name, rows in parts.items()}
    for relation in RELATIONS:
        kept = final & relations[relation]
        tables[f"by architecture, {relation}"] = {
            name: (rows, relevant, kept) for name, rows in architectures.items()
        }
    return tables


def _table(
    title: str, values: Mapping[str, Mapping[str, Floats]], runs: Sequence[int], reference: str
) -> Table:
    """With the lead of the method ``reference``."""
    cells: Cells = {}
    leads: Cells = {}
    for method, row in values.items():
        cells[method] = {column: figure(each, runs) for column, each in row.items()}
        if reference in values and method != reference:
            ours = {column: values[reference][column].mean(0) for column in row}
            leads[method] = {column: figure(ours[column] - each, runs) for column, each in row.items()}
    return Table(title, cells, leads)

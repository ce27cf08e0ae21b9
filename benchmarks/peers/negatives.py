"""Hard negatives: are a clean network and a twin further apart than two clean networks of one recipe?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from .methods import PEACE, Training, every
from .scoring import RESAMPLES, Figure, Floats, auc
from .tables import Cells, Table
from .untrained import Compared
from .zoo import Places, Zoo

NOTE = (
    "AUC of a pair's distance: a clean network of a test run and a twin of its recipe, against it and another seed of "
    "its recipe, with 95% bootstrap intervals over recipes; ± is half the range over seeds, in parentheses how much "
    "better PEACE does on the same resamples. .5: twins can't be told from seeds. Of another seed: the twin began with "
    "other weights, as the seeds did; of its own: with the clean network's."
)
KINDS = ("backdoor", "adversarial", "shuffled")
RESAMPLED = RESAMPLES // 10


def measure(zoo: Zoo, training: Training) -> list[Table]:
    """By kind of twin, and by whose twin it is."""
    anchors = np.flatnonzero(zoo.clean & (zoo.splits == "test"))
    methods = every(zoo, training)
    return [
        _table(f"Hard negatives, twins of {whose}", zoo, methods, anchors, own)
        for whose, own in (("another seed", False), ("its own seed", True))
    ]


def _table(title: str, zoo: Zoo, methods: Mapping[str, list[Compared]], anchors: Places, own: bool) -> Table:
    everyone = np.arange(len(zoo))
    recipe, run = _recipes(zoo), np.array([one.run for one in zoo.members])
    twin_of = np.array([one.twin_of or "" for one in zoo.members])
    alike = (recipe[anchors][:, None] == recipe) & zoo.final
    siblings = alike & zoo.clean & (run[anchors][:, None] != run)
    beginning = twin_of == run[anchors][:, None]
    pairs = {kind: alike & (zoo.twins == kind) & (beginning if own else ~beginning) for kind in KINDS}
    found: dict[str, dict[str, NDArray[np.float64]]] = {}
    for method, seeds in methods.items():
        for compared in seeds:
            distance = -compared(anchors, everyone)
            for kind, twins in pairs.items():
                row = _resampled(distance, twins, siblings, recipe[anchors])
                found.setdefault(method, {}).setdefault(kind, []).append(row)  # type: ignore[attr-defined]
    cells: Cells = {}
    leads: Cells = {}
    for method, row in found.items():
        cells[method] = {kind: _figure(np.array(each)) for kind, each in row.items()}
        if PEACE in found and method != PEACE:
            ours = {kind: np.mean(each, 0) for kind, each in found[PEACE].items()}
            leads[method] = {kind: _figure(ours[kind] - np.array(each)) for kind, each in row.items()}
    return Table(title, cells, leads)


def _recipes(zoo: Zoo) -> NDArray[np.str_]:
    """The recipe of each network; of a twin that of the run whose twin it is."""
    of_run = {one.run: one.recipe or "" for one in zoo.members}
    return np.array([of_run.get(one.twin_of or "", one.recipe or "") for one in zoo.members])


def _resampled(
    distance: Floats, twins: NDArray[np.bool_], siblings: NDArray[np.bool_], recipe: NDArray[np.str_]
) -> Floats:
    """The AUC, and that of each resample of recipes that have twins and siblings; NaN where none has, or a distance is
    missing."""
    names = [one for one in np.unique(recipe) if twins[recipe == one].any() and siblings[recipe == one].any()]
    each = [
        (distance[rows][twins[rows]], distance[rows][siblings[rows]])
        for rows in (recipe == one for one in names)
    ]
    each = [pair for pair in each if np.isfinite(np.concatenate(pair)).all()]
    if not each:
        return np.full(RESAMPLED + 1, np.nan)
    random = np.random.default_rng(0)
    draws = [np.arange(len(each)), *random.integers(0, len(each), (RESAMPLED, len(each)))]
    return np.array(
        [auc(*(np.concatenate([each[place][side] for place in drawn]) for side in (0, 1))) for drawn in draws]
    )


def _figure(values: Floats) -> Figure:
    """Of values (seeds, 1 + resamples), whose first are of all recipes."""
    if np.isnan(values).any():
        return Figure(*[float("nan")] * 5, 0, ())
    low, high = np.quantile(values[:, 1:].mean(0), [0.025, 0.975])
    seeds = tuple(float(one) for one in values[:, 0])
    return Figure(float(values[:, 0].mean()), low, high, low, high, values.shape[1], seeds)

"""What sketches of responses keep: same-task MAP beside the raw responses that they are made of.

    python benchmarks/sketch.py --home LAKE [--split validation] [--write]

The lake holds responses (`peace run` of a zoo of the recipe `pretraining`). Directions over the probes are fitted to
the final networks with true labels of the split `train`, of all their kinds of data, and compared on those of another
split, whose kinds of data they never saw. ``--write`` puts them into the package. Intervals are over queries;
in parentheses is the difference to the softmax outputs on the same queries.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from peers.scoring import average_precision, figure, ordered
from peers.tables import Table
from peers.zoo import Places, Zoo
from safetensors.numpy import save_file

from peace_pipeline.lake import Lake
from peace_pipeline.responses.answers import Answers
from peace_pipeline.responses.sketch import DIRECTIONS, roots, sketch
from peace_pipeline.responses.standard import NUMBERS, PROBES, SKETCH, TOKENS

KEPT = {NUMBERS: 64, TOKENS: 128}
"""Directions of each kind of input."""
RIDGE = 2.0
"""Added to the variances within tasks, in units of their mean."""
POWER = 0.2
"""Of the ratio between to within tasks that directions are weighed by."""
COLUMNS = ("all other runs", "other architectures")
Seen = Callable[[Answers], torch.Tensor]


def main() -> None:
    """Fit, compare, print, and write where asked to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--home", default=None, help="the lake (default $PEACE_HOME, else .peace)")
    parser.add_argument(
        "--split", default="validation", help="whose networks are compared; `all` for every one"
    )
    parser.add_argument("--write", action="store_true", help="put the fitted directions into the package")
    arguments = parser.parse_args()
    zoo = Zoo.of(Lake.open(arguments.home))
    usable = zoo.final & zoo.real & np.array([one.twin_of is None for one in zoo.members])
    usable &= np.isin(np.arange(len(zoo)), list(zoo.responses))
    judged = usable if arguments.split == "all" else usable & (zoo.splits == arguments.split)
    fitted = {}
    for kind in KEPT:
        of_kind = np.array(
            [place in zoo.responses and zoo.responses[place][0] == kind for place in range(len(zoo))]
        )
        if arguments.write:
            fitted[kind] = directions(
                zoo, np.flatnonzero(usable & of_kind & (zoo.splits == "train")), KEPT[kind]
            )
        if (judged & of_kind).any():
            print(
                compared(zoo, kind, np.flatnonzero(judged & of_kind), fitted.get(kind)).markdown(), flush=True
            )
    if arguments.write:
        save_file({kind: found.astype(np.float16) for kind, found in fitted.items()}, DIRECTIONS)


def directions(zoo: Zoo, places: Places, most: int) -> NDArray[np.float64]:
    """Discriminants of tasks over the probes (PROBES, most), first the one that tells them apart best.

    Every output of a network is an observation; the variances are of networks of unit norm.
    """
    total, within = np.zeros((2, PROBES, PROBES))
    for task in np.unique(zoo.tasks[places]):
        told = roots(torch.from_numpy(outputs(zoo, places[zoo.tasks[places] == task])))
        told = torch.nn.functional.normalize(told.flatten(1), dim=1).view_as(told).double().numpy()
        for variance, values in ((total, told), (within, told - told.mean(0))):
            observed = values.transpose(0, 2, 1).reshape(-1, PROBES)
            variance += observed.T @ observed / len(places)
    spread, axes = np.linalg.eigh(within + RIDGE * within.trace() / PROBES * np.eye(PROBES))
    whitened = (axes * spread**-0.5) @ axes.T
    ratios, found = np.linalg.eigh(whitened @ total @ whitened)
    kept = (whitened @ found * ratios.clip(0) ** POWER)[:, ::-1][:, :most]
    return kept / np.linalg.norm(kept, 2)


def compared(zoo: Zoo, kind: str, places: Places, fitted: NDArray[np.float64] | None) -> Table:
    """MAP of networks of one kind of input among each other, raw and sketched."""
    relevant, other_run = zoo.relevance(places, places)
    other = zoo.architectures[places][:, None] != zoo.architectures[places]
    answers = Answers(kind, torch.from_numpy(outputs(zoo, places)))
    scores = {}
    for name, seen in methods(fitted).items():
        vectors = torch.nn.functional.normalize(seen(answers).flatten(1).double(), dim=1).numpy()
        order = ordered(vectors @ vectors.T)
        scores[name] = [average_precision(order, relevant, kept) for kept in (other_run, other_run & other)]
    floor = scores["softmax less chance"]
    cells = {name: dict(zip(COLUMNS, map(figure, each), strict=True)) for name, each in scores.items()}
    leads = {
        name: {column: figure(a - b) for column, a, b in zip(COLUMNS, each, floor, strict=True)}
        for name, each in scores.items()
        if each is not floor
    }
    return Table(f"{kind}: {len(places)} networks of {len(np.unique(zoo.tasks[places]))} tasks", cells, leads)


def methods(fitted: NDArray[np.float64] | None) -> dict[str, Seen]:
    """What is compared: answers → vectors of any shape."""
    found: dict[str, Seen] = {
        "softmax less chance": lambda answers: answers.outputs.softmax(2) - 1 / answers.outputs.shape[2],
        "softmax less its mean over probes": lambda answers: centred(answers.outputs.softmax(2)),
        "square roots of softmax, centred": lambda answers: roots(answers.outputs),
        "logits, centred": lambda answers: centred(answers.outputs - answers.outputs.mean(2, keepdim=True)),
    }
    for size in (256, 320, 384, 512):
        found[f"random projection of softmax less chance to {size}"] = partial(
            projected, size, found["softmax less chance"]
        )
        found[f"random projection of the roots to {size}"] = partial(
            projected, size, found["square roots of softmax, centred"]
        )
    found[f"PEACE's sketch ({SKETCH})"] = sketch
    if fitted is not None:
        found[f"the same, fitted now ({SKETCH})"] = partial(sketch, directions=torch.from_numpy(fitted))
    return found


def centred(values: torch.Tensor) -> torch.Tensor:
    """Less the mean over probes."""
    return values - values.mean(1, keepdim=True)


def projected(size: int, seen: Seen, answers: Answers) -> torch.Tensor:
    """A random projection with signs for the places of outputs (Johnson and Lindenstrauss 1984)."""
    values, generator = seen(answers), np.random.default_rng(0)
    projection, _ = np.linalg.qr(generator.standard_normal((PROBES, size)))
    signs = np.sign(generator.standard_normal((values.shape[2], size)))
    maps = (torch.from_numpy(part).to(values) for part in (projection, signs))
    return torch.einsum("npo,ps,os->ns", values, *maps)


def outputs(zoo: Zoo, places: Places) -> NDArray[np.float32]:
    """Logits (networks, probes, outputs) of networks with equally many outputs."""
    return np.stack([zoo.responses[place][1] for place in places])


if __name__ == "__main__":
    main()

"""How alike networks of different widths are by chance, and such as one was made of by taking units away.

    python benchmarks/widths.py [--seeds 2]

MLPs on handwritten digits, and of one width on two classes of points in the plane: trained apart, and on digits with a
share of the hidden units left (those of the largest norms), as they are and trained on. Similarity is that of
`peace compare`, without thresholds.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from copy import deepcopy
from itertools import combinations, pairwise

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from peace_pipeline.comparison.measuring import measure
from peace_pipeline.comparison.thresholds import Thresholds
from peace_pipeline.evaluation.derivatives import InMemory
from peace_pipeline.symmetry.opening import OpenNetwork
from peace_pipeline.weights.checkpoint import Checkpoint

Data = tuple[torch.Tensor, torch.Tensor]
PLANE = ((16,), (32,))
WIDTHS = ((24,), (48,), (96,), (200,), (32, 16), (48, 40), (80, 32), (100, 50))
SEEDS = 5  # of points in the plane
SHARES, EPOCHS = (0.75, 0.5, 0.25), (0, 2, 20)


def main() -> None:
    """Train, cut, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2)
    arguments = parser.parse_args()
    networks = {
        (widths, seed): _trained(_mlp(widths, seed), seed)
        for widths in WIDTHS
        for seed in range(arguments.seeds)
    }
    found: dict[str, list[float]] = defaultdict(list)
    for ((first, _), a), ((second, _), b) in combinations(networks.items(), 2):
        if len(first) == len(second):
            kind = "of one width" if first == second else "of other widths"
            found[f"trained apart, {kind}"].append(_similarity(a, b))
    for widths in PLANE:
        points = [_trained(_mlp(widths, seed, 2, 2), seed, 60, _circle()) for seed in range(SEEDS)]
        found["trained apart, in the plane"] += [_similarity(a, b) for a, b in combinations(points, 2)]
    for (_, seed), module in networks.items():
        for share in SHARES:
            cut = _cut(module, share)
            for epochs in EPOCHS:
                tuned = _trained(deepcopy(cut), seed + 100, epochs)
                found[f"{share:.0%} of the units, {epochs} epochs"].append(_similarity(module, tuned))
    print("| | pairs | least | median | most |\n|---|---|---|---|---|")
    for kind, values in found.items():
        print(f"| {kind} | {len(values)} | {min(values):.3f} | {np.median(values):.3f} | {max(values):.3f} |")


def _mlp(widths: tuple[int, ...], seed: int, inputs: int = 64, classes: int = 10) -> nn.Sequential:
    torch.manual_seed(seed)
    layers = [each for sizes in pairwise((inputs, *widths)) for each in (nn.Linear(*sizes), nn.ReLU())]
    return nn.Sequential(*layers, nn.Linear(widths[-1], classes))


def _digits() -> Data:
    inputs, labels = load_digits(return_X_y=True)
    return torch.tensor(inputs / 16, dtype=torch.float32), torch.tensor(labels)


def _circle() -> Data:
    """Points in the plane, and whether each lies outside a circle."""
    points = torch.randn(1000, 2, generator=torch.Generator().manual_seed(0))
    return points, (points.norm(dim=1) > 1.1).long()


def _trained(module: nn.Sequential, seed: int, epochs: int = 20, data: Data | None = None) -> nn.Sequential:
    torch.manual_seed(seed)
    x, y = data or _digits()
    optimizer = torch.optim.Adam(module.parameters(), 3e-3)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            F.cross_entropy(module(x[rows]), y[rows]).backward()
            optimizer.step()
    return module


def _cut(module: nn.Sequential, share: float) -> nn.Sequential:
    """A copy with so many of the units of each hidden layer, those of the largest norms."""
    found = deepcopy(module)
    for writer, reader in pairwise(layer for layer in found if isinstance(layer, nn.Linear)):
        order = writer.weight.norm(dim=1).argsort(descending=True)
        kept = order[: round(share * len(order))].sort().values
        writer.weight = nn.Parameter(writer.weight.detach()[kept])
        writer.bias = nn.Parameter(writer.bias.detach()[kept])
        reader.weight = nn.Parameter(reader.weight.detach()[:, kept])
    return found


def _similarity(a: nn.Module, b: nn.Module) -> float:
    first, second = (
        OpenNetwork.of(Checkpoint({"": InMemory(each.state_dict())}), {"hidden_act": "relu"})
        for each in (a, b)
    )
    return measure(first, second, Thresholds(0.0, 0.0))[0].similarity


if __name__ == "__main__":
    main()

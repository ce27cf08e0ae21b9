"""How far symmetries move vectors, in units of the distance to the nearest other network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.metrics import pairwise_distances

from peace_pipeline.encoder.model import Encoder
from peace_pipeline.evaluation.baselines.flattened import values as flattened_values
from peace_pipeline.evaluation.baselines.statistics import canonical_features, features
from peace_pipeline.evaluation.embedder import WEIGHTS_ALONE
from peace_pipeline.evaluation.invariance import by_weights
from peace_pipeline.evaluation.population import Cohort
from peace_pipeline.evaluation.readings import Reader
from peace_pipeline.evaluation.representations import (
    CANONICAL,
    CHANCE,
    FLATTENED,
    MOST,
    STATISTICS,
    Mask,
    Matrix,
    in_blocks,
)
from peace_pipeline.evaluation.resampling import Resampling
from peace_pipeline.evaluation.space.results import Moved
from peace_pipeline.evaluation.symmetry.study import FamilySheet, by_wiring
from peace_pipeline.symmetry.form.folding import folded
from peace_pipeline.symmetry.group.elements import ALL, Actions, Strength
from peace_pipeline.symmetry.network import Stack
from peace_pipeline.symmetry.testing import acted, has_any
from peace_pipeline.symmetry.wiring.types import Group, Wiring

_READERS: dict[str, Reader] = {
    STATISTICS: features,
    CANONICAL: canonical_features,
    FLATTENED: flattened_values,
}


@dataclass(frozen=True)
class Only(Strength):
    """Random elements of one action alone."""

    decades: float = ALL.decades
    action: str = ""

    def sampled(self, wiring: Wiring, group: Group) -> Actions:
        """The action, on groups that have it."""
        return tuple(action for action in group.actions if action == self.action)


def ratios(originals: Matrix, moved: Matrix, places: Sequence[int] | np.ndarray) -> Matrix:
    """Distance from each ``moved`` vector to its original, which is at these ``places`` among all ``originals``, over
    the original's distance to the nearest other; 1 where both are 0, infinite where only the latter is."""
    apart = pairwise_distances(originals[places], originals)
    apart[np.arange(len(places)), places] = np.inf
    nearest = apart.min(1)
    far = np.linalg.norm(moved - originals[places], axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where((far == 0) & (nearest == 0), 1.0, far / nearest)


def by_actions(
    encoder: Encoder,
    sheets: Sequence[FamilySheet],
    count: int,
    seed: int,
    done: Callable[[], None],
) -> dict[str, Moved]:
    """Every action alone, and all at once, on ``count`` random networks of each family that has it.

    The nearest other network is the nearest of all the families' for PEACE (by its weights alone) and for chance, and
    of the same family for methods that compare only networks of one signature.
    """
    drawn = enumerate(by_wiring(sheets))  # families that are wired alike would be the same networks
    stacks = {", ".join(names): sheet.draw(count, seed + place) for place, (names, sheet) in drawn}
    embed = by_weights(encoder)
    originals = {name: _vectors(embed, stack) for name, stack in stacks.items()}
    everything = np.concatenate([each[WEIGHTS_ALONE] for each in originals.values()])
    starts = {name: number * count for number, name in enumerate(stacks)}
    found: dict[str, dict[str, dict[str, Matrix]]] = {}
    for name, stack in stacks.items():
        for action, strength in _strengths(stack.wiring).items():
            moved = _vectors(embed, _acted(stack, strength, seed))
            found.setdefault(action, {})[name] = {
                WEIGHTS_ALONE: ratios(everything, moved[WEIGHTS_ALONE], starts[name] + np.arange(count)),
                CHANCE: _chance(len(everything), count, seed),
                **{method: _within(originals[name][method], moved[method], seed) for method in _READERS},
            }
        for _ in name.split(", "):
            done()
    return {action: _moved(of, seed) for action, of in sorted(found.items())}


def _strengths(wiring: Wiring) -> dict[str, Strength]:
    actions = sorted({action for group in wiring.groups.values() for action in group.actions})
    alone: dict[str, Strength] = {action: Only(action=action) for action in actions}
    return {**alone, "all": ALL} if actions else {}


def _acted(stack: Stack, strength: Strength, seed: int) -> Stack:
    return stack.with_tensors(acted(stack.wiring, stack.tensors, strength, seed))


def _vectors(embed: Callable[..., torch.Tensor], stack: Stack) -> dict[str, Matrix]:
    whole = folded(stack).to(torch.float32)
    cohort = Cohort((), whole, (None,) * len(whole))
    read = {name: np.asarray(list(reader(cohort)), dtype=np.float64) for name, reader in _READERS.items()}
    return {WEIGHTS_ALONE: embed([whole], torch.float32).double().numpy(), **read}


def _within(originals: Matrix, moved: Matrix, seed: int) -> Matrix:
    """Ratios among networks of one signature, in the baselines' own vectors."""
    count = len(originals)
    train: Mask = np.arange(2 * count) < count
    unit = in_blocks([*originals, *moved], [0] * (2 * count), train, seed, scaled=True)
    return ratios(unit[:count], unit[count:], np.arange(count))


def _chance(size: int, count: int, seed: int) -> Matrix:
    random = np.random.default_rng(seed)
    originals, moved = (random.normal(size=(rows, MOST)) for rows in (size, count))
    originals, moved = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (originals, moved))
    return ratios(originals, moved, np.arange(count))


def _moved(of: Mapping[str, Mapping[str, Matrix]], seed: int) -> Moved:
    families = [family for family, each in of.items() for _ in next(iter(each.values()))]
    resampling = Resampling.of(families, seed)
    joined = {
        method: np.concatenate([each[method] for each in of.values()]) for method in next(iter(of.values()))
    }
    return Moved(
        [name for names in of for name in names.split(", ")],
        {method: resampling.median(values) for method, values in joined.items()},
        float(joined[WEIGHTS_ALONE].max()),
    )


def kinds_of(wirings: Sequence[Wiring], strengths: Mapping[str, Strength]) -> dict[str, Mask]:
    """Kind of action → which networks have it; kinds that none has are left out."""
    having = {
        kind: np.array([has_any(wiring, strength) for wiring in wirings])
        for kind, strength in strengths.items()
    }
    return {kind: mask for kind, mask in having.items() if mask.any()}

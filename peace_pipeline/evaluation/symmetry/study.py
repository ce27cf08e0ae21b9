"""The symmetry report: every action on every family, and on the lake's own networks, through the current encoder.

Networks of the families are random: a family's sheet says what its files hold (names, shapes and config.json, taken
from a small model as the family's library saves it), and :func:`structured` draws weights.
"""

from __future__ import annotations

import json
import math
import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch

from peace_pipeline.encoder import store
from peace_pipeline.evaluation.invariance import Invariance, by_weights, measure
from peace_pipeline.evaluation.population import cohorts, is_embedded, read_listed
from peace_pipeline.evaluation.symmetry.results import Results
from peace_pipeline.lake import Lake
from peace_pipeline.progress import Progress
from peace_pipeline.symmetry.network import Stack
from peace_pipeline.symmetry.wiring.inference import infer_wiring
from peace_pipeline.symmetry.wiring.types import Wiring
from peace_pipeline.weights.logical import views_of
from peace_pipeline.weights.tensors import TensorInfo
from peace_pipeline.zoo.listing import TRAIN, Listing, count_listings, sample_listings

NETWORKS = 32
"""Of each family and architecture: science asks for as many at least."""
LARGEST, THREADS = 1_000_000, 4
_ACTED_ON = "method <> 'independent'"
SHEETS = Path(__file__).with_name("family_sheets.json")


@dataclass(frozen=True)
class FamilySheet:
    """What the files of a family's small model hold: its config.json, and tensor name → dtype and shape."""

    name: str
    config: Mapping[str, Any]
    tensors: Mapping[str, Sequence[Any]]

    @cached_property
    def logical(self) -> dict[str, TensorInfo]:
        """The tensors as layers are made of them, by name."""
        stored = [TensorInfo(name, tuple(shape), dtype) for name, (dtype, *shape) in self.tensors.items()]
        return {name: replace(view.info, name=name) for name, view in views_of(stored, self.config).items()}

    @cached_property
    def wiring(self) -> Wiring:
        """How a checkpoint with these tensors is wired."""
        return infer_wiring(self.logical.values(), dict(self.config))

    def draw(self, count: int, seed: int) -> Stack:
        """Random networks of the family: structured weights, and biases and norms like those of trained networks."""
        generator = torch.Generator().manual_seed(seed)
        tensors = {
            name: _drawn(role, (count, *self.logical[name].shape), generator)
            for name, role in _roles(self.wiring).items()
        }
        return Stack(tuple(f"{self.name}-{number}" for number in range(count)), self.wiring, tensors)


def family_sheets() -> list[FamilySheet]:
    """The sheets of all families."""
    return [FamilySheet(name, **fields) for name, fields in json.loads(SHEETS.read_text()).items()]


QUICK: dict[str, Any] = {"sheets": family_sheets()[:1], "count": 4}
"""Settings with which the study takes seconds."""


def _roles(wiring: Wiring) -> dict[str, str]:
    """Tensor name → its role in its layer."""
    layers = [
        layer
        for wired in wiring.layers
        for layer in (wired.layer, wired.norm, wired.before)
        if layer is not None
    ]
    return {name: role for layer in layers for role, name in layer.tensors.items()}


def _drawn(role: str, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Gains from [0.5, 1.5], running variances from [0.5, 2], constants normal with deviation 0.3."""
    uniform = torch.rand(shape, generator=generator, dtype=torch.float64)
    if role == "gain":
        return 0.5 + uniform
    if role == "var":
        return 0.5 + 1.5 * uniform
    if role == "weight" and len(shape) > 2:
        return structured(shape, generator)
    return 0.3 * torch.randn(shape, generator=generator, dtype=torch.float64)


def structured(shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
    """Random weights (batch, out, in, *kernel), float64, each of the batch with a structure of its own.

    As trained weights differ, so do these, every property from none of it to a lot, drawn anew for each weight:

    - tails: products of normal values with powers (up to 1.5) of others;
    - correlated rows: a row that all share, up to as large as their own;
    - kernels that are smooth over their positions;
    - spectrum: singular values times k^(0 … −1.5), and, from a random rank on, times 10^(0 … −3);
    - units of different norm: rows and columns times 10^(deviation up to 0.4);
    - sparsity: up to half of the values are 0;
    - scale: root mean square 1/√fan-in times 10^±½.
    """
    batch, rows = shape[:2]

    def normal(*size: int) -> torch.Tensor:
        return torch.randn(batch, *size, generator=generator, dtype=torch.float64)

    def upto(most: float) -> torch.Tensor:
        return most * torch.rand(batch, 1, 1, generator=generator, dtype=torch.float64)

    columns = math.prod(shape[2:])
    weight = normal(rows, columns) * normal(rows, columns).abs() ** upto(1.5)
    weight = weight + upto(1) * normal(1, columns)
    weight = _smoothed(weight.view(shape), upto(1)).view(batch, rows, columns)
    weight = _with_spectrum(weight, upto(1.5), rank=upto(1), drop=upto(3))
    weight = weight * 10 ** (upto(0.4) * normal(rows, 1)) * 10 ** (upto(0.4) * normal(1, columns))
    kept = torch.rand(batch, rows, columns, generator=generator, dtype=torch.float64) >= upto(0.5)
    weight = weight * kept
    size = weight.square().mean((1, 2), keepdim=True).sqrt().clamp_min(torch.finfo(weight.dtype).tiny)
    return (weight / size * 10 ** (upto(1) - 0.5) / math.sqrt(columns)).view(shape)


def _smoothed(weight: torch.Tensor, strength: torch.Tensor) -> torch.Tensor:
    """A weight (batch, out, in, *kernel) mixed with its mean over neighbouring kernel positions, axis by axis."""
    strength = strength.view(-1, *[1] * (weight.dim() - 1))
    for axis in range(3, weight.dim()):
        around = (weight.roll(1, axis) + weight.roll(-1, axis)) / 2
        weight = weight + strength * (around - weight) / 2
    return weight


def _with_spectrum(
    weight: torch.Tensor, decay: torch.Tensor, *, rank: torch.Tensor, drop: torch.Tensor
) -> torch.Tensor:
    """Matrices whose k-th singular value is k^−decay times theirs, and from a share ``rank`` on also 10^−drop."""
    u, values, v = torch.linalg.svd(weight, full_matrices=False)
    place = torch.arange(values.shape[1], dtype=values.dtype)
    factors = (1 + place) ** -decay[..., 0] * torch.where(
        place >= rank[..., 0] * len(place), 10 ** -drop[..., 0], 1
    )
    return (u * (values * factors)[:, None]) @ v


def measure_all(
    lake: Lake,
    *,
    sheets: Sequence[FamilySheet] | None = None,
    count: int = NETWORKS,
    largest: int = LARGEST,
    seed: int = 0,
    progress: Progress | None = None,
) -> Results:
    """Measurements of the current encoder on ``count`` networks of each family (of ``sheets``, or all), and of each
    architecture of which the lake has so many of at most ``largest`` values; those that were not trained on first.

    At most ``THREADS`` samples are in memory, each with some six times 8 · ``count`` · ``largest`` bytes.

    Raises:
        NoEncoder: where the lake has no encoder.
    """
    version, encoder = store.load(lake)
    embed = by_weights(encoder)
    alike = _by_architecture(lake, count, largest, seed, is_embedded(lake, version))
    own = {name: group for name, group in alike.items() if len(group) == count}
    families = by_wiring(family_sheets() if sheets is None else sheets)
    samples: list[Callable[[], list[Stack]]] = [partial(_stacks, lake, group) for group in own.values()]
    samples += [partial(_drawn_stacks, sheet, count, seed) for _, sheet in families]
    found: list[Invariance] = []
    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as pool:
        for measured in pool.map(lambda sample: measure(embed, sample(), seed), samples):
            found.append(measured)
            if progress:
                progress(len(found), len(samples))
    of_families = zip(families, found[len(own) :], strict=True)
    return Results(
        encoder_version=version,
        seed=seed,
        count=count,
        families={name: measured for (names, _), measured in of_families for name in names},
        own=dict(zip(own, found[: len(own)], strict=True)),
        too_few=sum(len(group) for name, group in alike.items() if name not in own),
        too_large=count_listings(lake, f"{_ACTED_ON} AND parameters > {largest}"),
    )


def _stacks(lake: Lake, listings: Sequence[Listing]) -> list[Stack]:
    return [cohort.stack for cohort in cohorts(read_listed(lake, listings))]


def _drawn_stacks(sheet: FamilySheet, count: int, seed: int) -> list[Stack]:
    return [sheet.draw(count, seed)]


def by_wiring(sheets: Sequence[FamilySheet]) -> list[tuple[list[str], FamilySheet]]:
    """Sheets that are wired alike, whose random networks are the same: their names, and the first."""
    alike: dict[str, list[FamilySheet]] = defaultdict(list)
    for sheet in sheets:
        alike[sheet.wiring.to_json()].append(sheet)
    return [([sheet.name for sheet in group], group[0]) for group in alike.values()]


def _by_architecture(
    lake: Lake, count: int, largest: int, seed: int, embedded: str
) -> dict[str, list[Listing]]:
    """At most ``count`` networks of each architecture whose symmetries are known, those that were not trained on
    first."""
    listed = sample_listings(
        lake,
        count,
        seed=seed,
        where=f"{_ACTED_ON} AND parameters <= {largest} AND {embedded}",
        each="coalesce(architecture, method)",
        first=f"split = '{TRAIN}'",
    )
    alike: dict[str, list[Listing]] = defaultdict(list)
    for listing in listed:
        alike[listing.architecture or listing.method].append(listing)
    return dict(sorted(alike.items()))

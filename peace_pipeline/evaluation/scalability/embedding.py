"""What it costs to embed networks: one of any size, and those of a lake, in a process of its own."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import torch
from torch import nn

from peace_pipeline.encoder import store
from peace_pipeline.encoder.embed import embed
from peace_pipeline.evaluation.baselines.flattened import values
from peace_pipeline.evaluation.baselines.statistics import canonical_features, features
from peace_pipeline.evaluation.embedder import PEACE, WEIGHTS_ALONE, Embedder
from peace_pipeline.evaluation.population import Cohort, is_embedded, read_listed
from peace_pipeline.evaluation.readings import read
from peace_pipeline.lake import Lake
from peace_pipeline.symmetry.form.folding import folded_layer
from peace_pipeline.symmetry.network import Network, Stack
from peace_pipeline.symmetry.wiring.inference import infer_wiring
from peace_pipeline.weights.tensors import TensorInfo, dtype_name
from peace_pipeline.zoo.listing import sample_listings

BASELINES: Mapping[str, Callable[[Cohort], object]] = {
    features.__name__: features,
    canonical_features.__name__: canonical_features,
    values.__name__: values,
}
METHODS = (WEIGHTS_ALONE, *BASELINES)
LAYERS, MOST_TIMES, ENOUGH = 3, 7, 2.0
"""Of a chain; a network is embedded so many times, or until so many seconds have passed."""


@dataclass(frozen=True)
class Cost:
    """Median seconds, and the peak of memory in bytes above what the process held before."""

    seconds: float
    memory: float


def by_size(lake: Lake, version: str, sizes: Sequence[int]) -> dict[str, dict[int, Cost]]:
    """Method → weights → what one chain of three square layers costs, from tensors in memory to its vector, on one
    thread."""
    return _alone(_networks, lake.root, version, sorted(sizes))


def by_number(lake: Lake, version: str, counts: Sequence[int], seed: int) -> dict[int, Cost]:
    """Networks → what it costs to read so many of the lake's from its tables and embed them by both senses, on one
    thread. Counts beyond what the lake holds are left out."""
    return _alone(_of_lake, lake.root, version, sorted(counts), seed)


def _alone(step: Callable[..., dict], *arguments: object) -> dict:
    """Runs a step in a process of its own, so that what this one holds counts for nothing."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(step, *arguments).result()


def _networks(root: Path, version: str, sizes: Sequence[int]) -> dict[str, dict[int, Cost]]:
    torch.set_num_threads(1)
    _, encoder = store.load(Lake.open(root), version)
    found: dict[str, dict[int, Cost]] = {name: {} for name in METHODS}
    for size in (sizes[0], *sizes):  # the first pays for what is loaded late
        network = chain(size)
        cohort = Cohort((), Stack.of([network]), ())
        found[WEIGHTS_ALONE][size] = _cost(lambda: list(embed(encoder, [network])))  # noqa: B023
        for name, baseline in BASELINES.items():
            found[name][size] = _cost(lambda: baseline(cohort))  # noqa: B023
    return found


def _of_lake(root: Path, version: str, counts: Sequence[int], seed: int) -> dict[int, Cost]:
    torch.set_num_threads(1)
    lake = Lake.open(root)
    _, encoder = store.load(lake, version)
    listed = sample_listings(lake, max(counts), seed=seed, where=is_embedded(lake, version))
    random.Random(seed).shuffle(listed)
    found = {}
    for count in (counts[0], *(count for count in counts if count <= len(listed))):
        chosen = listed[:count]
        found[count] = _cost(
            lambda: read(read_listed(lake, chosen), {PEACE: Embedder(encoder)}),  # noqa: B023
            most=1,
        )
    return found


def _cost(step: Callable[[], object], most: int = MOST_TIMES) -> Cost:
    before, seconds = _memory("VmRSS"), list[float]()
    _forget_peak()
    while len(seconds) < most and sum(seconds) < ENOUGH:
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return Cost(statistics.median(seconds), max(0.0, _memory("VmHWM") - before))


def _memory(name: str) -> float:
    """Bytes that this process holds (``VmRSS``), or held at its peak (``VmHWM``); NaN where no Linux tells."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return float("nan")
    return next(1024.0 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def _forget_peak() -> None:
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def chain(weights: int, seed: int = 0) -> Network:
    """A random network of three square linear layers with about so many weights, ReLU between them."""
    width = max(2, round((weights / LAYERS) ** 0.5))
    torch.manual_seed(seed)
    state = nn.Sequential(*(nn.Linear(width, width) for _ in range(LAYERS))).state_dict()
    infos = [TensorInfo(name, tuple(value.shape), dtype_name(value.dtype)) for name, value in state.items()]
    wiring = infer_wiring(infos, {"hidden_act": "relu"})
    tensors = {
        f"{position}.{role}": tensor
        for position, wired in enumerate(wiring.layers)
        for role, tensor in folded_layer(wired, state.__getitem__).items()
    }
    return Network(f"chain-{weights}", wiring, tensors)

"""Speed on one thread: PEACE's weights sense beside nfn-HNP in the same run, and its cost over network sizes."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import nn

from peace_pipeline.encoder import store
from peace_pipeline.encoder.inputs import encoder_input
from peace_pipeline.encoder.model import Encoder
from peace_pipeline.evaluation.baselines.neural_functionals import network, weight_space
from peace_pipeline.evaluation.scalability.embedding import chain as one_chain
from peace_pipeline.symmetry.form.folding import folded_layer
from peace_pipeline.symmetry.network import Network, Stack
from peace_pipeline.symmetry.wiring.inference import infer_wiring
from peace_pipeline.weights.tensors import TensorInfo, dtype_name

from .copies import through_a_lake
from .methods import PEACE, WEIGHTS
from .scoring import Figure, figure
from .tables import Cells, Table
from .zoo import Zoo

NOTE = (
    "The CNN of Unterthiner et al. (2020) of 4,970 weights, in batches of 64 on one thread: networks a second, medians "
    "of alternating runs, with 95% bootstrap intervals over runs. A training step is forward, backward and Adam. The "
    "ratio is of runs side by side. Cost is of one chain of three square layers, by the number of weights. Both "
    "senses: networks of the zoo at even distances, in a lake of their own."
)
BATCH, TIMES = 64, 12
CHANNELS, LABELS = (1, 16, 16, 16), 10
SIZES = (10**3, 10**4, 10**5, 10**6, 10**7, 10**8)


def measure(
    zoo: Zoo, *, batch: int = BATCH, times: int = TIMES, sizes: tuple[int, ...] = SIZES, networks: int = 256
) -> list[Table]:
    """Forward and training step beside nfn-HNP, seconds for networks of growing size, and what running takes."""
    _, encoder = store.load(zoo.lake, zoo.version)
    return [_beside(encoder, small_cnns(batch), times), _growth(encoder, sizes), _running(zoo, networks)]


def small_cnns(count: int, seed: int = 0) -> Stack:
    """Random networks of three convolutions, pooling and a linear layer."""
    torch.manual_seed(seed)
    layers = [nn.Conv2d(inputs, outputs, 3) for inputs, outputs in pairwise(CHANNELS)]
    return _stack(lambda: [*layers, nn.Linear(CHANNELS[-1], LABELS)], count)


def chain(weights: int) -> Stack:
    """One network of three square layers with about so many weights."""
    return Stack.of([one_chain(weights)])


def _stack(layers: Callable[[], list[nn.Module]], count: int) -> Stack:
    networks = []
    for number in range(count):
        module = nn.Sequential(*layers())
        for parameter in module.parameters():
            nn.init.normal_(parameter, 0, 0.1)
        state = {name: value.detach() for name, value in module.state_dict().items()}
        infos = [
            TensorInfo(name, tuple(value.shape), dtype_name(value.dtype)) for name, value in state.items()
        ]
        wiring = infer_wiring(infos, {"hidden_act": "relu"})
        tensors = {
            f"{position}.{role}": tensor.clone()
            for position, wired in enumerate(wiring.layers)
            for role, tensor in folded_layer(wired, state.__getitem__).items()
        }
        networks.append(Network(f"random-{number}", wiring, tensors))
    return Stack.of(networks)


def _beside(encoder: Encoder, stack: Stack, times: int) -> Table:
    net = network(weight_space(stack.wiring, stack.tensors), encoder.config.learned, "HNP")
    ways: dict[str, tuple[nn.Module, Callable[[], torch.Tensor]]] = {
        WEIGHTS: (
            encoder,
            lambda: encoder([encoder_input(stack, encoder.config)]).networks,
        ),
        "nfn-HNP": (net, lambda: net(weight_space(stack.wiring, stack.tensors))),
    }
    seconds: dict[str, dict[str, list[float]]] = {name: {"forward": [], "training step": []} for name in ways}
    optimizers = {name: torch.optim.Adam(module.parameters(), 1e-6) for name, (module, _) in ways.items()}
    for turn in range(times + 1):
        for name, (module, forward) in ways.items():
            module.eval()
            start = time.perf_counter()
            with torch.inference_mode():
                forward()
            middle = time.perf_counter()
            module.train()
            optimizers[name].zero_grad()
            forward().square().sum().backward()
            optimizers[name].step()
            if turn:  # the first warms up
                seconds[name]["forward"].append(middle - start)
                seconds[name]["training step"].append(time.perf_counter() - middle)
    cells: Cells = {
        name: {kind: _median(len(stack) / np.array(each)) for kind, each in row.items()}
        for name, row in seconds.items()
    }
    ours, theirs = seconds.values()
    cells["ratio"] = {kind: _median(np.array(theirs[kind]) / np.array(ours[kind])) for kind in ours}
    return Table("Networks a second", cells)


def _median(values: np.ndarray) -> Figure:
    """Of runs, with its interval."""
    spread = figure(values[None])
    drawn = np.random.default_rng(0).choice(values, (2000, len(values)))
    low, high = np.quantile(np.median(drawn, 1), [0.025, 0.975])
    return Figure(float(np.median(values)), low, high, low, high, spread.count, ())


def _growth(encoder: Encoder, sizes: tuple[int, ...]) -> Table:
    encoder.eval()
    cells: Cells = {}
    for size in sizes:
        stack, seconds = chain(size), []
        for _ in range(3):
            start = time.perf_counter()
            with torch.inference_mode():
                encoder([encoder_input(stack, encoder.config)])
            seconds.append(time.perf_counter() - start)
        least = min(seconds)
        cells[f"{size:,} weights"] = {
            "seconds": Figure(*[least] * 5, 3, ()),
            "nanoseconds a weight": Figure(*[1e9 * least / size] * 5, 3, ()),
        }
    return Table("Cost of one network by weights alone", cells)


def _running(zoo: Zoo, most: int) -> Table:
    """Networks a second of each stage, and the share of running in what is embedded by both senses."""
    chosen = np.unique(np.linspace(0, len(zoo) - 1, most).round().astype(int))
    with tempfile.TemporaryDirectory() as folder:
        for place in chosen:
            shutil.copytree(zoo.folder(place), Path(folder) / "networks" / str(place))
        copies, seconds = through_a_lake(zoo, Path(folder) / "networks", Path(folder) / "home")
        run = len(copies.responses)
    rates = {name: len(copies) / spent for name, spent in seconds.items()}
    both = seconds["responses"] + seconds["embeddings"]
    rates |= {"responses and embeddings": len(copies) / both, "share of running": seconds["responses"] / both}
    row = {name: Figure(*[value] * 5, len(copies), ()) for name, value in rates.items()}
    return Table(f"Networks a second by both senses ({run} of {len(copies)} could be run)", {PEACE: row})

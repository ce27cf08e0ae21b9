"""Neural functional networks: vectors of chains of layers by layers that are equivariant to permuted neurons."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from itertools import pairwise
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_metric_learning.losses import SupConLoss
from torch import Tensor, nn

from peace_pipeline.evaluation.baselines.flattened import MOST_VALUES, values
from peace_pipeline.evaluation.baselines.registry import Similarity, baseline
from peace_pipeline.evaluation.readings import Readings
from peace_pipeline.symmetry.wiring.types import Wiring
from peace_pipeline.threads import one_thread

if TYPE_CHECKING:
    from nfn.common import WeightSpaceFeatures

CHANNELS, HIDDEN = (16, 16, 5), 1000
WIDTH, STEPS, BATCH, MOST_SHAPES = 64, 60, 64, 16
TEMPERATURE = 0.1


def nfn(queries: Readings, gallery: Readings, train: Readings) -> Similarity:
    """Cosine of vectors (64 numbers) that NFN-HNP makes of chains of layers with at most 16,384 weights (Zhou et al.
    2023, https://arxiv.org/abs/2302.14040), as published for small CNNs, a network of its own for each shape, all in
    one space: trained for 60 steps on which networks of the training split share a task, of at most 16 shapes, the most
    frequent. Other networks it can't read."""
    vectors = _learned(train)
    of_queries, of_gallery = vectors(queries), vectors(gallery)
    similarity = (of_queries @ of_gallery.T).astype(np.float64)
    similarity[~np.isfinite(similarity)] = -np.inf
    return similarity


if find_spec("nfn"):  # which nothing else here needs
    baseline("Neural functional networks (nfn)", reads=values)(nfn)


def network(features: WeightSpaceFeatures, width: int, mode: str = "HNP") -> nn.Sequential:
    """What gives ``width`` numbers for networks with these features: equivariant layers of 16, 16 and 5 channels,
    pooled with inputs and outputs kept apart, a head of two hidden layers of 1,000 (Zhou et al. 2023). ``NP`` learns
    embeddings of inputs and outputs; ``HNP`` takes them as they are."""
    from nfn.common import network_spec_from_wsfeat
    from nfn.layers import HNPLinear, HNPPool, NPLinear, TupleOp

    spec = network_spec_from_wsfeat(features)
    layers: list[nn.Module] = []
    for inputs, outputs in zip((1, *CHANNELS), CHANNELS, strict=False):
        linear = HNPLinear(spec, inputs, outputs) if mode == "HNP" else NPLinear(spec, inputs, outputs, True)
        layers += [linear, TupleOp(nn.ReLU())]
    pooled = CHANNELS[-1] * HNPPool.get_num_outs(spec)
    head = [nn.Linear(pooled, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU()]
    return nn.Sequential(*layers, HNPPool(spec), nn.Flatten(-2), *head, nn.Linear(HIDDEN, width))


def is_chain(wiring: Wiring) -> bool:
    """Whether each layer reads what the one before it writes, and nothing else."""
    linked = all(
        after.into is not None and after.into.group == before.out.group
        for before, after in pairwise(wiring.layers)
    )
    return linked and all(
        one.layer.kind in ("linear", "conv1d", "conv2d") and not one.is_diagonal for one in wiring.layers
    )


def weight_space(wiring: Wiring, tensors: Mapping[str, Tensor]) -> WeightSpaceFeatures:
    """Chains as nfn takes them: weights (batch, 1, out, in[, height, width]) and biases (batch, 1, out).

    Convolutions of one dimension count as of two; what follows a flattened map has the map's positions as its kernel.
    """
    from nfn.common import WeightSpaceFeatures

    weights, biases = [], []
    for wired in wiring.layers:
        weight = tensors[wired.layer.tensors["weight"]]
        if weight.ndim == 4:  # a convolution of one dimension
            weight = weight[..., None, :]
        elif weight.ndim == 3 and wired.into and wired.into.block > 1:
            weight = weight.unflatten(2, (-1, 1, wired.into.block))
        name = wired.layer.tensors.get("bias")
        biases.append((tensors[name] if name else weight.new_zeros(weight.shape[:2]))[:, None])
        weights.append(weight[:, None])
    return WeightSpaceFeatures(weights, biases)


def _learned(train: Readings) -> Callable[[Readings], NDArray[np.float32]]:
    """What gives unit vectors (networks, width), NaN of networks that can't be read, learned from the tasks of some."""
    tasks = np.unique([member.listing.task or "" for member in train.members], return_inverse=True)[1]
    known = sorted(train.by_signature().items(), key=lambda item: -len(item[1]))
    read = {name: found for name, rows in known if (found := _features(train.select(rows))) is not None}
    read = dict(list(read.items())[:MOST_SHAPES])
    rows_of = dict(known)
    with torch.random.fork_rng(devices=[]), one_thread():
        torch.manual_seed(0)
        nets = {name: network(features, WIDTH) for name, features in read.items()}
        loss = SupConLoss(temperature=TEMPERATURE)
        each = max(2, BATCH // max(1, len(nets)))
        optimizers = [torch.optim.Adam(net.parameters(), 1e-3) for net in nets.values()]
        for _ in range(STEPS if nets else 0):
            drawn = {name: torch.randperm(len(rows_of[name]))[:each] for name in nets}
            outputs = [nets[name](read[name].map(lambda one, at=at: one[at])) for name, at in drawn.items()]
            labels = np.concatenate([tasks[rows_of[name]][at.numpy()] for name, at in drawn.items()])
            for optimizer in optimizers:
                optimizer.zero_grad()
            loss(torch.cat(outputs), torch.from_numpy(labels)).backward()
            for optimizer in optimizers:
                optimizer.step()

    @torch.inference_mode()
    def vectors(networks: Readings) -> NDArray[np.float32]:
        found = np.full((len(networks), WIDTH), np.nan, np.float32)
        for name, rows in networks.by_signature().items():
            features = _features(networks.select(rows)) if name in nets else None
            if features is not None:
                found[rows] = nn.functional.normalize(nets[name](features)).numpy()
        return found

    return vectors


def _features(networks: Readings) -> WeightSpaceFeatures | None:
    """Of networks of one signature; ``None`` where they are no chains, or some of their weights were left out."""
    wiring = networks.members[0].wiring
    if not is_chain(wiring):
        return None
    shapes = {
        name: one.layer.shape if role == "weight" else one.layer.shape[:1]
        for one in wiring.layers
        for role, name in one.layer.tensors.items()
    }
    sizes = [prod(shape) for shape in shapes.values()]
    if sum(sizes) > MOST_VALUES:
        return None
    parts = torch.from_numpy(networks.matrix.astype(np.float32)).split(sizes, 1)
    tensors = {
        name: part.unflatten(1, shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)
    }
    return weight_space(wiring, tensors)

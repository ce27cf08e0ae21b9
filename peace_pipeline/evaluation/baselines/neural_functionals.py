"""Neural functional networks: vectors of chains of layers by layers that are equivariant to permuted neurons."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from itertools import islice, pairwise
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_metric_learning.losses import SupConLoss
from torch import Tensor, nn

from peace_pipeline.evaluation.baselines.classifiers import labelled, tasks_of
from peace_pipeline.evaluation.baselines.flattened import MOST_VALUES, values
from peace_pipeline.evaluation.baselines.registry import Similarity, baseline
from peace_pipeline.evaluation.readings import Readings
from peace_pipeline.symmetry.wiring.types import Wiring
from peace_pipeline.threads import one_thread

if TYPE_CHECKING:
    from nfn.common import WeightSpaceFeatures

CHANNELS, HIDDEN = (16, 16, 5), 1000
WIDTH, STEPS, BATCH, MOST_SHAPES = 64, 100, 16, 16
TEMPERATURE = 0.1
KINDS = ("linear", "conv1d", "conv2d")
"""Of the layers that nfn has an equivariant form for."""


def nfn(queries: Readings, gallery: Readings, train: Readings) -> Similarity:
    """Cosine of vectors (64 numbers) that NFN-HNP makes of chains of layers with at most 16,384 weights (Zhou et al.
    2023, https://arxiv.org/abs/2302.14040), as published for small CNNs, a network of its own for each shape, all in
    one space: trained for 100 steps on which networks of the training split share a task, of at most 16 shapes, the
    most frequent. Other networks it can't read."""
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
    """Whether there are two layers or more, each reads what the one before it writes, and none writes what another
    does."""
    layers = wiring.layers
    linked = all(
        after.into is not None and after.into.group == before.out.group for before, after in pairwise(layers)
    )
    written_once = len({one.out.group for one in layers}) == len(layers)
    plain = all(one.layer.kind in KINDS and not one.is_diagonal for one in layers)
    return len(layers) > 1 and linked and written_once and plain


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
    known = labelled(train)
    tasks = np.unique(tasks_of(known), return_inverse=True)[1]
    groups = sorted(known.by_signature().items(), key=lambda group: -len(group[1]))
    chains = (group for group in groups if is_readable(known.members[group[1][0]].wiring))
    rows = dict(islice(chains, MOST_SHAPES))
    features = {name: _features(known.select(places)) for name, places in rows.items()}
    with torch.random.fork_rng(devices=[]), one_thread():
        torch.manual_seed(0)
        nets = {name: network(of_shape, WIDTH) for name, of_shape in features.items()}
        loss = SupConLoss(temperature=TEMPERATURE)
        optimizers = [torch.optim.Adam(net.parameters(), 1e-3, fused=True) for net in nets.values()]
        for _ in range(STEPS if nets else 0):
            drawn = {name: torch.randperm(len(rows[name]))[: max(2, BATCH // len(nets))] for name in nets}
            outputs = [nets[name](_at(features[name], places)) for name, places in drawn.items()]
            labels = np.concatenate([tasks[rows[name]][places.numpy()] for name, places in drawn.items()])
            for optimizer in optimizers:
                optimizer.zero_grad()
            loss(torch.cat(outputs), torch.from_numpy(labels)).backward()
            for optimizer in optimizers:
                optimizer.step()

    @torch.inference_mode()
    def vectors(networks: Readings) -> NDArray[np.float32]:
        found = np.full((len(networks), WIDTH), np.nan, np.float32)
        with one_thread():
            for name, places in networks.by_signature().items():
                for start in range(0, len(places), BATCH) if name in nets else ():
                    part = places[start : start + BATCH]
                    outputs = nets[name](_features(networks.select(part)))
                    found[part] = nn.functional.normalize(outputs).numpy()
        return found

    return vectors


def is_readable(wiring: Wiring) -> bool:
    """Whether nfn can read networks that are wired so: chains of which every weight was read."""
    return is_chain(wiring.folded) and sum(map(prod, _shapes(wiring).values())) <= MOST_VALUES


def _features(networks: Readings) -> WeightSpaceFeatures:
    """Of networks of one signature that nfn can read."""
    wiring = networks.members[0].wiring
    shapes = _shapes(wiring)
    parts = torch.from_numpy(networks.matrix.astype(np.float32)).split([*map(prod, shapes.values())], 1)
    tensors = {
        name: part.unflatten(1, shape) for (name, shape), part in zip(shapes.items(), parts, strict=True)
    }
    return weight_space(wiring.folded, tensors)


def _shapes(wiring: Wiring) -> dict[str, tuple[int, ...]]:
    """Of the tensors whose values are read, by name, in the order of these."""
    return {
        name: one.layer.shape if role == "weight" else one.layer.shape[:1]
        for one in wiring.folded.layers
        for role, name in one.layer.tensors.items()
    }


def _at(features: WeightSpaceFeatures, places: Tensor) -> WeightSpaceFeatures:
    return features.map(lambda tensor: tensor[places])

"""Embedding networks with a trained encoder, in chunks of bounded size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from peace_pipeline.encoder.bucket import Bucket, stack
from peace_pipeline.encoder.model import Encoder
from peace_pipeline.encoder.networks import NetworkTensors

_CHUNK_VALUES = 4_000_000
_CHUNK_NETWORKS = 256


@dataclass(frozen=True)
class Embedding:
    """Vectors of one network: ``network`` (dimension,) and ``layers`` (layers, token width)."""

    key: str
    network: np.ndarray
    layers: np.ndarray


def chunks(networks: Iterable[NetworkTensors]) -> Iterator[list[NetworkTensors]]:
    """Group networks so that a chunk holds at most some million values, or one network."""
    chunk: list[NetworkTensors] = []
    values = 0
    for network in networks:
        size = sum(tensor.numel() for tensor in network[2].values())
        if chunk and (values + size > _CHUNK_VALUES or len(chunk) == _CHUNK_NETWORKS):
            yield chunk
            chunk, values = [], 0
        chunk.append(network)
        values += size
    if chunk:
        yield chunk


def embed(
    encoder: Encoder, networks: Iterable[NetworkTensors], dtype: torch.dtype = torch.float32
) -> Iterator[Embedding]:
    """Embed networks (key, wiring, folded tensors); uses a GPU where there is one. Order may change."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    encoder = encoder.to(device, dtype).eval()
    for chunk in chunks(networks):
        typed = (
            (key, wiring, {name: t.to(dtype) for name, t in tensors.items()})
            for key, wiring, tensors in chunk
        )
        buckets = stack(
            typed, to_canonical=encoder.config.canonical, shared_nodes=encoder.config.shared_nodes
        )
        yield from embed_buckets(encoder, buckets, device)


def embed_buckets(
    encoder: Encoder, buckets: list[Bucket], device: torch.device | None = None
) -> Iterator[Embedding]:
    """Embed networks that are already stacked."""
    with torch.inference_mode():
        embedded = encoder([bucket.to(device) if device else bucket for bucket in buckets])
    networks, layers = embedded.networks.cpu().numpy(), embedded.layers.cpu().numpy()
    starts = np.searchsorted(embedded.network_of.cpu().numpy(), np.arange(len(networks) + 1))
    keys = [key for bucket in buckets for key in bucket.keys]
    for row, key in enumerate(keys):
        yield Embedding(key, networks[row], layers[starts[row] : starts[row + 1]])

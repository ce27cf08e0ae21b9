"""Embedding networks with a trained encoder, in chunks of bounded size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from peace_pipeline.encoder.inputs import encoder_input
from peace_pipeline.encoder.model import Encoder
from peace_pipeline.symmetry.network import Network, Stack, stacked

_CHUNK_VALUES = 4_000_000
_CHUNK_NETWORKS = 256


@dataclass(frozen=True)
class Embedding:
    """Vectors of one network: ``network`` (dimension,) and ``layers`` (layers, token width)."""

    key: str
    network: np.ndarray
    layers: np.ndarray


def embed(
    encoder: Encoder, networks: Iterable[Network], dtype: torch.dtype = torch.float32
) -> Iterator[Embedding]:
    """Embed networks; uses a GPU where there is one. Order may change."""
    for chunk in chunks(networks):
        yield from _embedded(encoder, stacked(chunk), dtype)


def embed_stacks(
    encoder: Encoder, stacks: Iterable[Stack], dtype: torch.dtype = torch.float32
) -> Iterator[Embedding]:
    """Embed stacks of folded networks, in order."""
    for stack in stacks:
        size = sum(tensor[0].numel() for tensor in stack.tensors.values())
        for piece in stack.cut(max(1, min(_CHUNK_NETWORKS, _CHUNK_VALUES // max(1, size)))):
            yield from _embedded(encoder, [piece], dtype)


def chunks(networks: Iterable[Network]) -> Iterator[list[Network]]:
    """Group networks so that a chunk holds at most some million values, or one network."""
    chunk: list[Network] = []
    values = 0
    for network in networks:
        if chunk and (values + network.size > _CHUNK_VALUES or len(chunk) == _CHUNK_NETWORKS):
            yield chunk
            chunk, values = [], 0
        chunk.append(network)
        values += network.size
    if chunk:
        yield chunk


def _embedded(encoder: Encoder, stacks: Sequence[Stack], dtype: torch.dtype) -> Iterator[Embedding]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    encoder = encoder.to(device, dtype).eval()
    with torch.inference_mode():
        embedded = encoder([encoder_input(stack.to(dtype), encoder.config).to(device) for stack in stacks])
    networks, layers = embedded.networks.cpu().numpy(), embedded.layers.cpu().numpy()
    starts = np.searchsorted(embedded.network_of.cpu().numpy(), np.arange(len(networks) + 1))
    for row, key in enumerate(key for stack in stacks for key in stack.keys):
        yield Embedding(key, networks[row], layers[starts[row] : starts[row + 1]])

"""Embedding networks with a trained encoder, in chunks of bounded size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from peace_pipeline.encoder.inputs import encoder_input
from peace_pipeline.encoder.model import Encoder
from peace_pipeline.symmetry.network import Network, Stack, stacked
from peace_pipeline.weights.unusable import UnusableModel, model_errors

_CHUNK_VALUES = 4_000_000
_CHUNK_NETWORKS = 256


@dataclass(frozen=True)
class Embedding:
    """Vectors of one network: ``network`` (dimension,) and ``layers`` (layers, token width)."""

    key: str
    network: np.ndarray
    layers: np.ndarray


@dataclass(frozen=True)
class Unembeddable:
    """A network without a vector, and why."""

    key: str
    reason: str


def embed(
    encoder: Encoder, networks: Iterable[Network], dtype: torch.dtype = torch.float32
) -> Iterator[Embedding | Unembeddable]:
    """Embed networks; uses a GPU where there is one. Order may change. One that can't be embedded stops no other."""
    for chunk in chunks(networks):
        try:
            with model_errors():
                yield from map(_finite, list(_embedded(encoder, stacked(chunk), dtype)))
        except UnusableModel as error:
            if len(chunk) == 1:
                yield Unembeddable(chunk[0].key, str(error))
            else:
                for network in chunk:
                    yield from embed(encoder, [network], dtype)


def embeddable(encoder: Encoder, networks: Sequence[Network]) -> list[Network]:
    """Those of the networks that an encoder can embed."""
    failed = {found.key for found in embed(encoder, networks) if isinstance(found, Unembeddable)}
    return [network for network in networks if network.key not in failed]


def _finite(embedding: Embedding) -> Embedding | Unembeddable:
    if np.isfinite(embedding.network).all() and np.isfinite(embedding.layers).all():
        return embedding
    return Unembeddable(embedding.key, "its vector is not finite: its weights are too large to compute with")


def embed_stacks(
    encoder: Encoder, stacks: Iterable[Stack], dtype: torch.dtype = torch.float32
) -> Iterator[Embedding]:
    """Embed stacks of folded networks, in order."""
    for chunk in stack_chunks(stacks):
        yield from _embedded(encoder, chunk, dtype)


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


def stack_chunks(
    stacks: Iterable[Stack], most: int = _CHUNK_NETWORKS, values: int = _CHUNK_VALUES
) -> Iterator[list[Stack]]:
    """The same networks in order, in chunks of at most ``most`` networks and ``values`` weights, or of one network."""
    chunk: list[Stack] = []
    networks = weights = 0
    for stack in stacks:
        size = sum(tensor[0].numel() for tensor in stack.tensors.values())
        for piece in stack.cut(max(1, min(most, values // max(1, size)))):
            if chunk and (networks + len(piece) > most or weights + len(piece) * size > values):
                yield chunk
                chunk, networks, weights = [], 0, 0
            chunk.append(piece)
            networks, weights = networks + len(piece), weights + len(piece) * size
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

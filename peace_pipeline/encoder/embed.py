"""Embedding networks with a trained encoder, in chunks of bounded size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from peace_pipeline.encoder.inputs import encoder_input
from peace_pipeline.encoder.model import WEIGHTS, Encoder
from peace_pipeline.responses.answers import Answers, Response
from peace_pipeline.symmetry.network import Network, Stack, stacked
from peace_pipeline.weights.unusable import UnusableModel, model_errors

_CHUNK_VALUES = 4_000_000
_CHUNK_NETWORKS = 256


@dataclass(frozen=True)
class Embedding:
    """Vectors of one network, all of unit norm.

    ``network`` (dimension,) by all that is known of it, ``weights`` (learned,) by its weights alone, ``layers``
    (layers, token width). Where it was run, ``responses`` (SKETCH,) is the sketch of its answers and ``outputs``
    (outputs, token width) describe its outputs.
    """

    key: str
    network: np.ndarray
    weights: np.ndarray
    layers: np.ndarray
    responses: np.ndarray | None = None
    outputs: np.ndarray | None = None


@dataclass(frozen=True)
class Unembeddable:
    """A network without a vector, and why."""

    key: str
    reason: str


def embed(
    encoder: Encoder,
    networks: Iterable[Network],
    dtype: torch.dtype = torch.float32,
    *,
    responses: Mapping[str, Response] | None = None,
) -> Iterator[Embedding | Unembeddable]:
    """Embed networks with the ``responses`` of those that were run, by key.

    Uses a GPU where there is one. Order may change. A network that can't be embedded stops no other. Where
    ``responses`` are given, an encoder that hears nothing else needs some of each network.
    """
    needed = responses is not None and not encoder.config.weights
    for chunk in chunks(networks):
        try:
            with model_errors():
                told = answered(stacked(chunk), responses or {})
                yield from (_usable(each, needed) for each in list(_embedded(encoder, told, dtype)))
        except UnusableModel as error:
            if len(chunk) == 1:
                yield Unembeddable(chunk[0].key, str(error))
            else:
                for network in chunk:
                    yield from embed(encoder, [network], dtype, responses=responses)


def answered(
    stacks: Iterable[Stack], responses: Mapping[str, Response]
) -> list[tuple[Stack, Answers | None]]:
    """The networks of ``stacks`` beside their answers, those apart that answer in another way or not at all."""
    found: list[tuple[Stack, Answers | None]] = []
    for stack in stacks:
        told = [responses.get(key) for key in stack.keys]
        ways = [(each.kind, each.outputs.shape) if each else None for each in told]
        for way in dict.fromkeys(ways):
            rows = [row for row, other in enumerate(ways) if other == way]
            outputs = [torch.as_tensor(each.outputs) for row in rows if (each := told[row])]
            found.append((stack.select(rows), Answers(way[0], torch.stack(outputs)) if way else None))
    return found


def embeddable(encoder: Encoder, networks: Sequence[Network]) -> list[Network]:
    """Those of the networks that an encoder can embed."""
    failed = {found.key for found in embed(encoder, networks) if isinstance(found, Unembeddable)}
    return [network for network in networks if network.key not in failed]


def _usable(embedding: Embedding, needs_answers: bool) -> Embedding | Unembeddable:
    if needs_answers and embedding.responses is None:
        return Unembeddable(embedding.key, "it was not run, and the encoder hears answers alone")
    if all(np.isfinite(each).all() for each in vars(embedding).values() if isinstance(each, np.ndarray)):
        return embedding
    return Unembeddable(embedding.key, "its vector is not finite: its weights are too large to compute with")


def embed_stacks(
    encoder: Encoder,
    stacks: Iterable[Stack],
    dtype: torch.dtype = torch.float32,
    *,
    responses: Mapping[str, Response] | None = None,
) -> Iterator[Embedding]:
    """Embed stacks of folded networks; those of a stack that answer in the same way stay in order."""
    for chunk in stack_chunks(stacks):
        yield from _embedded(encoder, answered(chunk, responses or {}), dtype)


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


def _embedded(
    encoder: Encoder, told: Sequence[tuple[Stack, Answers | None]], dtype: torch.dtype
) -> Iterator[Embedding]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    encoder = encoder.to(device, dtype).eval()
    stacks = [encoder_input(stack.to(dtype), encoder.config).to(device) for stack, _ in told]
    with torch.inference_mode():
        senses = encoder.perceived(stacks, [each and each.to(device, dtype) for _, each in told])
        both, weights = encoder.joined(senses), encoder.joined(senses, senses.only(WEIGHTS))
    layers = torch.nn.functional.normalize(senses.layers, dim=-1).cpu().numpy()
    outputs = torch.nn.functional.normalize(senses.described, dim=-1).cpu().numpy()
    starts = np.searchsorted(senses.network_of.cpu().numpy(), np.arange(len(both.networks) + 1))
    counts = senses.answering.sum(1).tolist()
    networks, alone = both.networks.cpu().numpy(), weights.learned.cpu().numpy()
    sketches = senses.sketches.cpu().numpy()
    for row, key in enumerate(key for stack, _ in told for key in stack.keys):
        ran = counts[row] > 0
        yield Embedding(
            key,
            networks[row],
            alone[row],
            layers[starts[row] : starts[row + 1]],
            sketches[row] if ran else None,
            outputs[row, : counts[row]] if ran else None,
        )

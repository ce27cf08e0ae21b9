"""What a checkpoint holds, tensor by tensor, and what it is: a hash of its content."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch
from blake3 import blake3

from peace_pipeline.weights.checkpoint import Checkpoint
from peace_pipeline.weights.tensors import TensorInfo, dtype_name

_THREADS = 2


@dataclass(frozen=True)
class Inventory:
    """Every tensor of a checkpoint with the hash of its bytes, and the model's hash.

    A tensor that was read in part has no hash, nor has its model.
    """

    tensors: tuple[tuple[TensorInfo, str | None], ...]
    content: str | None


def take_inventory(checkpoint: Checkpoint) -> Inventory:
    """Read every tensor once, which shows that it is whole and finite.

    Raises:
        UnreadableCheckpoint: where one isn't.
    """
    names = list(checkpoint.tensors)
    hashes = dict(zip(names, _hashed(checkpoint, names), strict=True))
    tensors = tuple((info, None if info.part else hashes[name]) for name, info in checkpoint.tensors.items())
    return Inventory(tensors, None if checkpoint.sampled else model_hash(hashes))


def _hashed(checkpoint: Checkpoint, names: list[str]) -> Iterator[str]:
    """Hashes of the tensors, which are read here and hashed by others; few wait."""
    waiting: deque[Future[str]] = deque()
    with ThreadPoolExecutor(_THREADS, "hash") as pool:
        for name in names:
            waiting.append(pool.submit(content_hash, checkpoint.read(name, dtype=None)))
            if len(waiting) == _THREADS:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def content_hash(tensor: torch.Tensor) -> str:
    """Hash of a tensor's dtype, shape and bytes: equal in whatever file or format it lies."""
    digest = blake3(f"{dtype_name(tensor.dtype)}{tuple(tensor.shape)}".encode())
    digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def model_hash(hashes: Mapping[str, str]) -> str:
    """Hash of a model from those of its tensors by name."""
    return blake3(json.dumps(sorted(hashes.items())).encode()).hexdigest()

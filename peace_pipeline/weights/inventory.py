"""What a checkpoint holds, tensor by tensor, and what it is: a hash of its content."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import torch
from blake3 import blake3

from peace_pipeline.weights.checkpoint import Checkpoint, all_finite
from peace_pipeline.weights.tensors import TensorInfo

_THREADS = 2


@dataclass(frozen=True)
class Inventory:
    """Every tensor of a checkpoint with the hash of its bytes, and the model's hash; names of those that hold NaN or
    infinity.

    A tensor that was read in part has no hash, nor has its model.
    """

    tensors: tuple[tuple[TensorInfo, str | None], ...]
    content: str | None
    not_finite: tuple[str, ...] = ()


def take_inventory(checkpoint: Checkpoint) -> Inventory:
    """Read every tensor once, which shows that it is whole.

    Raises:
        UnreadableCheckpoint: where one isn't.
    """
    infos = checkpoint.tensors.values()
    with ThreadPoolExecutor(_THREADS if checkpoint.in_pieces else 1, "hash") as pool:
        try:
            found = list(pool.map(lambda info: _hashed(info, checkpoint.pieces(info.name)), infos))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    hashes = [digest for digest, _ in found]
    odd = tuple(info.name for info, (_, is_finite) in zip(infos, found, strict=True) if not is_finite)
    tensors = tuple((info, None if info.part else digest) for info, digest in zip(infos, hashes, strict=True))
    named = {info.name: digest for info, digest in zip(infos, hashes, strict=True)}
    return Inventory(tensors, None if checkpoint.sampled else _model_hash(named), odd)


def _hashed(info: TensorInfo, pieces: Iterable[torch.Tensor]) -> tuple[str, bool]:
    """Hash of a tensor's dtype, shape and bytes: equal in whatever file or format it lies; whether it is finite."""
    is_finite = True
    digest = blake3(f"{info.dtype}{info.shape}".encode())
    for piece in pieces:
        is_finite = is_finite and (not piece.is_floating_point() or all_finite(piece))
        digest.update(piece.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest(), is_finite


def _model_hash(hashes: Mapping[str, str]) -> str:
    """Hash of a model from those of its tensors by name."""
    return blake3(json.dumps(sorted(hashes.items())).encode()).hexdigest()

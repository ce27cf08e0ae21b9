"""A checkpoint's tensors → its folded layers, one layer in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch

from peace_pipeline.symmetry.wiring import WiredLayer, Wiring
from peace_pipeline.weights.folding import affine, fold
from peace_pipeline.weights.layers import Layer

Read = Callable[[str], torch.Tensor]


def folded_layers(wiring: Wiring, read: Read) -> Iterator[tuple[int, dict[str, torch.Tensor]]]:
    """Position and tensors (``weight``, ``bias``) of each layer, norms folded; ``read`` gives a tensor by name."""
    for position, wired in enumerate(wiring.layers):
        yield position, folded_layer(wired, read)


def folded_tensors(wiring: Wiring, read: Read) -> dict[str, torch.Tensor]:
    """All folded tensors under the names of ``wiring.folded``, without a batch dimension."""
    return {
        f"{position}.{role}": tensor
        for position, layer in folded_layers(wiring, read)
        for role, tensor in layer.items()
    }


def folded_layer(wired: WiredLayer, read: Read) -> dict[str, torch.Tensor]:
    """Tensors (``weight``, ``bias``) of one layer, its norm folded in."""
    tensors = {role: read(name) for role, name in wired.layer.tensors.items()}
    if wired.layer.is_norm:
        scale, offset = _affine(tensors, wired.eps)
        has_bias = {"shift", "mean"} & tensors.keys()
        return {"weight": scale, "bias": offset} if has_bias else {"weight": scale}
    if wired.norm:
        scale, offset = _affine(_read_all(wired.norm, read), wired.eps)
        tensors["weight"], tensors["bias"] = fold(tensors["weight"], tensors.get("bias"), scale, offset)
    return tensors


def _affine(tensors: dict[str, torch.Tensor], eps: float) -> tuple[torch.Tensor, torch.Tensor]:
    gain, shift, mean, var = (tensors.get(role) for role in ("gain", "shift", "mean", "var"))
    return affine(gain, shift, mean, var, eps)


def _read_all(layer: Layer, read: Read) -> dict[str, torch.Tensor]:
    return {role: read(name) for role, name in layer.tensors.items()}

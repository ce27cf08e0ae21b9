"""A layer's tensors with its norm folded in."""

from __future__ import annotations

from collections.abc import Callable

import torch

from peace_pipeline.symmetry.wiring import WiredLayer
from peace_pipeline.weights.folding import affine, fold
from peace_pipeline.weights.layers import Layer

Read = Callable[[str], torch.Tensor]


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

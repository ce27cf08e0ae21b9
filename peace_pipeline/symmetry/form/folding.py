"""A layer's tensors with its norms folded in, its outputs first and its inputs second.

BatchNorm in evaluation mode is an affine map of each channel, so it folds into the layer before.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from peace_pipeline.symmetry.group.elements import Tensors
from peace_pipeline.symmetry.network import Stack
from peace_pipeline.symmetry.wiring.types import WiredLayer, oriented
from peace_pipeline.weights.layers import Layer

Read = Callable[[str], torch.Tensor]


def folded(stack: Stack) -> Stack:
    """The same networks with their norms folded in."""
    wiring = stack.wiring.folded
    if wiring == stack.wiring:
        return stack

    def fold_all(tensors: Tensors) -> Tensors:
        return {
            f"{position}.{role}": value
            for position, wired in enumerate(stack.wiring.layers)
            for role, value in folded_layer(wired, tensors.__getitem__).items()
        }

    rows = [
        fold_all({name: values[row] for name, values in stack.tensors.items()}) for row in range(len(stack))
    ]
    return Stack(stack.keys, wiring, {name: torch.stack([row[name] for row in rows]) for name in rows[0]})


def folded_layer(wired: WiredLayer, read: Read) -> dict[str, torch.Tensor]:
    """Tensors (``weight`` (out, in, *kernel), ``bias`` (out,)) of a layer, the norms before and after it folded in."""
    tensors = {role: read(name) for role, name in wired.layer.tensors.items()}
    if wired.layer.is_norm:
        scale, offset = _affine(tensors, wired.eps)
        has_bias = {"shift", "mean"} & tensors.keys()
        return {"weight": scale, "bias": offset} if has_bias else {"weight": scale}
    weight, bias = tensors.pop("weight").permute(oriented(wired)), tensors.get("bias")
    if wired.before:
        weight, bias = _after(_read_all(wired.before, read), weight, bias)
    if wired.norm:
        scale, offset = _affine(_read_all(wired.norm, read), wired.eps)
        weight, bias = fold(weight, bias, scale, offset)
    return {"weight": weight} if bias is None else {"weight": weight, "bias": bias}


def _after(
    norm: dict[str, torch.Tensor], weight: torch.Tensor, bias: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Weight (out, in, *kernel) and bias (out,) of a layer that reads gain·x + shift (in,) as one that reads x.

    The number of inputs may be a multiple of the norm's, neighbouring ones belonging to one of its channels.
    """
    block = weight.shape[1] // len(norm["gain"])
    like = [1, -1, *[1] * (weight.dim() - 2)]
    if "shift" in norm:
        moved = (weight * norm["shift"].repeat_interleave(block).view(like)).flatten(1).sum(1)
        bias = moved if bias is None else bias + moved
    return weight * norm["gain"].repeat_interleave(block).view(like), bias


def _affine(tensors: dict[str, torch.Tensor], eps: float) -> tuple[torch.Tensor, torch.Tensor]:
    gain, shift, mean, var = (tensors.get(role) for role in ("gain", "shift", "mean", "var"))
    return affine(gain, shift, mean, var, eps)


def _read_all(layer: Layer, read: Read) -> dict[str, torch.Tensor]:
    return {role: read(name) for role, name in layer.tensors.items()}


def affine(
    gain: torch.Tensor | None,
    shift: torch.Tensor | None,
    mean: torch.Tensor | None,
    var: torch.Tensor | None,
    eps: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scale and offset (n,) of a norm's map x ↦ scale·x + offset (Ioffe and Szegedy 2015, algorithm 2).

    Without running statistics it is the gain and shift alone (LayerNorm, RMSNorm, a learned scale).

    Raises:
        ValueError: where a running variance is negative.
    """
    present = next(tensor for tensor in (gain, var, shift, mean) if tensor is not None)
    scale = torch.ones_like(present) if gain is None else gain
    offset = torch.zeros_like(present) if shift is None else shift
    if var is not None:
        if bool((var < 0).any()):
            raise ValueError("running variance is negative")
        scale = scale / torch.sqrt(var + eps)
    if mean is not None:
        offset = offset - mean * scale
    return scale, offset


def fold(
    weight: torch.Tensor, bias: torch.Tensor | None, scale: torch.Tensor, offset: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight (out, in, *kernel) and bias (out,) of the layer followed by x ↦ scale·x + offset."""
    folded = weight * scale.view(-1, *[1] * (weight.dim() - 1))
    return folded, offset if bias is None else bias * scale + offset

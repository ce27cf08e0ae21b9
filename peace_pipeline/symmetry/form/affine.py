"""BatchNorm in evaluation mode is an affine map of each channel: fold it into the layer before."""

from __future__ import annotations

import torch


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

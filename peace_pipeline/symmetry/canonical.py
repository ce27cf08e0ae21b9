"""The scale-canonical form: one representative of all positive rescalings of the hidden units."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch

from peace_pipeline.symmetry.actions import Element, Tensors, act, along
from peace_pipeline.symmetry.wiring import SCALE, Wiring

DEAD = 1e-30
"""Norms in below this are zero: their inverses would overflow in float32. Weight decay leaves such units behind."""


def canonical(wiring: Wiring, tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """Folded tensors (batch, *shape) with every scalable unit of unit norm in.

    One sweep in the order of data flow: the norm in is taken over weight and bias of the group's first writer,
    and its inverse is passed on to all writers and readers of the group. Where only some of the neurons that it reads
    are kept, the norm is estimated from them. A unit whose norm in is below ``DEAD``
    keeps scale 1; where nothing else writes it, it is silent, and the weights that read it become
    zero. Exact at any depth; the network's overall scale ends in its last layer.
    """
    swept = dict(tensors)
    for group in wiring.acting(SCALE):
        first = wiring.writers(group.name)[0]
        read = wiring.groups[first.into.group] if first.into else None
        share = read.size / read.full_size if read else 1.0
        bias = first.layer.tensors.get("bias")
        norm = norms_in(swept[first.layer.tensors["weight"]], swept[bias] if bias else None, share)
        swept = act(wiring, swept, Element(scales={group.name: to_unit(norm)}))
        if len(wiring.writers(group.name)) == 1 and not bool((norm > DEAD).all()):
            for reader in wiring.readers(group.name):
                assert reader.into is not None
                weight = reader.layer.tensors["weight"]
                swept[weight] = swept[weight] * along(norm > DEAD, swept[weight], 2, reader.into.block)
    return swept


def norms_in(weight: torch.Tensor, bias: torch.Tensor | None, share: float = 1.0) -> torch.Tensor:
    """Norm (batch, out) over each unit's weights (batch, out, in, *kernel) and bias (batch, out).

    ``share`` is the part of the inputs that the weights are of: their squares count 1/``share`` times.
    """
    rows = weight.flatten(2) if weight.dim() > 2 else weight[..., None]
    rows = rows if share == 1.0 else rows / math.sqrt(share)
    return _norm(rows if bias is None else torch.cat([rows, bias[..., None]], -1))


def to_unit(norm: torch.Tensor) -> torch.Tensor:
    """The scale that makes the norm 1; 1 for units that are dead."""
    return torch.where(norm > DEAD, norm, 1).reciprocal()


def _norm(rows: torch.Tensor) -> torch.Tensor:
    """Euclidean norm over the last axis, without overflow or underflow of the squares."""
    largest = rows.abs().amax(-1, keepdim=True)
    safe = torch.where(largest > 0, largest, 1)
    return torch.linalg.vector_norm(rows / safe, dim=-1) * safe[..., 0] * (largest[..., 0] > 0)

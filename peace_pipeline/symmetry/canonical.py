"""The scale-canonical form: one representative of all positive rescalings of the hidden units."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from peace_pipeline.symmetry.actions import Element, Tensors, act, along
from peace_pipeline.symmetry.wiring import SCALE, Wiring

DEAD = 1e-30
"""Norms in below this are zero: their inverses would overflow in float32. Weight decay leaves such units behind."""


def canonical(wiring: Wiring, tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """Folded tensors (batch, *shape) with every scalable unit of unit norm in.

    One sweep in the order of data flow: the norm in is taken over weight and bias of the group's first writer,
    and its inverse is passed on to all writers and readers of the group. A unit whose norm in is below ``DEAD``
    keeps scale 1; where nothing else writes it, it is silent, and the weights that read it become
    zero. Exact at any depth; the network's overall scale ends in its last layer.
    """
    swept = dict(tensors)
    for group in wiring.acting(SCALE):
        first = wiring.writers(group.name)[0].layer.tensors
        norm = _norm(
            torch.cat(
                [
                    swept[name].flatten(2) if swept[name].dim() > 2 else swept[name][..., None]
                    for name in first.values()
                ],
                -1,
            )
        )
        scale = torch.where(norm > DEAD, norm, 1).reciprocal()
        swept = act(wiring, swept, Element(scales={group.name: scale}))
        if len(wiring.writers(group.name)) == 1 and not bool((norm > DEAD).all()):
            for reader in wiring.readers(group.name):
                assert reader.into is not None
                weight = reader.layer.tensors["weight"]
                swept[weight] = swept[weight] * along(norm > DEAD, swept[weight], 2, reader.into.block)
    return swept


def _norm(rows: torch.Tensor) -> torch.Tensor:
    """Euclidean norm over the last axis, without overflow or underflow of the squares."""
    largest = rows.abs().amax(-1, keepdim=True)
    safe = torch.where(largest > 0, largest, 1)
    return torch.linalg.vector_norm(rows / safe, dim=-1) * safe[..., 0] * (largest[..., 0] > 0)

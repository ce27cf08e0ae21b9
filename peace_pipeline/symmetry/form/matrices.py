"""Canonical forms of matrices: what no scale, sign, invertible or orthogonal map of their rows changes."""

from __future__ import annotations

import torch

DEAD = 1e-30
"""Norms in below this are zero: their inverses would overflow in float32. Weight decay leaves such units behind."""


def balance(written: torch.Tensor, read: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Factors A (…, n, a) and B (…, n, b) with the product BᵀA that have equal Gram matrices, diagonal and falling.

    With AᵀV = Q₁R₁ and B likewise, BᵀA = Q₂(R₂R₁ᵀ)Q₁ᵀ; the singular values of the core go to both sides as roots.
    """
    if not written.shape[-2]:
        return written, read
    q1, r1 = torch.linalg.qr(written.mT)
    q2, r2 = torch.linalg.qr(read.mT)
    u, values, v = torch.linalg.svd(r2 @ r1.mT, full_matrices=False)
    root = values.sqrt()[..., None]
    a, b = root * (v @ q1.mT), root * (u.mT @ q2.mT)
    sign = sign_of(cubes(a) + cubes(b))[..., None]
    missing = written.shape[-2] - a.shape[-2]
    a, b = (torch.nn.functional.pad(side * sign, (0, 0, 0, missing)) for side in (a, b))
    return a, b


def stream_basis(matrices: list[torch.Tensor], ranks: torch.Tensor | None = None) -> torch.Tensor:
    """Orthogonal maps (batch, n, n) to the eigenvectors of Σ W Wᵀ, each W (batch, n, columns) over its norm; largest
    eigenvalue first (or those of ``ranks`` alone), signs by the cubes of the first W."""
    gram = torch.stack([gram_of(matrix) for matrix in matrices]).sum(0)
    vectors = torch.linalg.eigh(gram)[1].flip(-1).mT.to(matrices[0].dtype)
    vectors = vectors if ranks is None else vectors[:, ranks]
    return sign_of(cubes(vectors @ matrices[0]))[..., None] * vectors


def gram_of(matrix: torch.Tensor) -> torch.Tensor:
    """W Wᵀ over its trace, as float64."""
    gram = (matrix @ matrix.mT).double()
    return gram / or_one(gram.diagonal(dim1=-2, dim2=-1).sum(-1))[..., None, None]


def cubes(rows: torch.Tensor) -> torch.Tensor:
    """Sum of cubes of each row (…, columns) over its largest magnitude."""
    return (rows / or_one(rows.abs().amax(-1, keepdim=True))).pow(3).sum(-1)


def or_one(positive: torch.Tensor) -> torch.Tensor:
    """Values that can be divided by: 1 for 0."""
    return torch.where(positive > 0, positive, 1)


def sign_of(values: torch.Tensor) -> torch.Tensor:
    """1 or −1; 1 for 0."""
    return torch.where(values < 0, -1.0, 1.0).to(values.dtype)


def to_unit(norm: torch.Tensor) -> torch.Tensor:
    """The scale that makes the norm 1; 1 for units that are dead."""
    return torch.where(norm > DEAD, norm, 1).reciprocal()


def norm_of(rows: torch.Tensor) -> torch.Tensor:
    """Euclidean norm over the last axis, without overflow or underflow of the squares."""
    largest = rows.abs().amax(-1, keepdim=True)
    return torch.linalg.vector_norm(rows / or_one(largest), dim=-1) * largest[..., 0]

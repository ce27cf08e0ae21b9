"""Norms of a large weight's rows and columns, in float64 without a copy of it."""

from __future__ import annotations

from collections.abc import Iterator

import torch

_CHUNK = 1 << 17


def row_norms(weight: torch.Tensor, columns: torch.Tensor | None = None) -> torch.Tensor:
    """Squared norms (out,) of the rows in float64; ``columns`` are factors of the squares in each column."""
    rows = as_rows(weight)
    factors = torch.ones(rows.shape[1], dtype=torch.float64) if columns is None else columns
    return torch.cat([square @ factors for square in _squares(rows)])


def column_norms(weight: torch.Tensor, block: int, rows: torch.Tensor | None = None) -> torch.Tensor:
    """Squared norms in float64 of the neurons that own ``block`` columns each; ``rows`` are factors of the squares in
    each row."""
    matrix = as_rows(weight)
    factors = torch.ones(len(matrix), dtype=torch.float64) if rows is None else rows
    sums = torch.zeros(matrix.shape[1], dtype=torch.float64)
    for part, square in zip(factors.split(_height(matrix)), _squares(matrix), strict=True):
        sums += part @ square
    return sums.view(weight.shape[1] // block, -1).sum(1)


def _squares(rows: torch.Tensor) -> Iterator[torch.Tensor]:
    """The squares in float64, of so few rows at a time that they stay in the processor's cache."""
    return (chunk.double().square() for chunk in rows.split(_height(rows)))


def _height(rows: torch.Tensor) -> int:
    return max(1, _CHUNK // rows.shape[1])


def as_rows(weight: torch.Tensor) -> torch.Tensor:
    """A weight (out, …) as a matrix (out, columns)."""
    return weight.flatten(1) if weight.dim() > 1 else weight[:, None]


def over_columns(neurons: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """A value of each neuron for every column of the flattened weight that it owns."""
    return neurons.repeat_interleave(as_rows(weight).shape[1] // len(neurons))

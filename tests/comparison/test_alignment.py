"""Maps and orders that bring the units of one network onto those of another."""

from __future__ import annotations

import pytest
import torch

from peace_pipeline.comparison.alignment import (
    WIDEST,
    RowPair,
    assigned,
    mixings,
    procrustes,
    rotations,
)

F64 = torch.float64


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(shape, dtype=F64)


def test_an_orthogonal_map_is_found_from_its_images() -> None:
    torch.manual_seed(0)
    turn, rows = torch.linalg.qr(normal(5, 5))[0], normal(5, 40)
    found, agreed = procrustes(rows @ (turn @ rows).mT)
    torch.testing.assert_close(found, turn)
    torch.testing.assert_close(agreed, rows.square().sum())


def test_factors_that_any_map_separates_come_to_one_form() -> None:
    torch.manual_seed(0)
    written, read, maps = normal(3, 4, 9), normal(3, 4, 7), normal(3, 4, 4)
    other = maps @ written, torch.linalg.inv(maps).mT @ read
    a, b, cosine, count = mixings((written, read), other)
    assert count == 4
    assert cosine > 1 - 1e-9
    torch.testing.assert_close(a @ written, b @ other[0])
    torch.testing.assert_close(torch.linalg.inv(a).mT @ read, torch.linalg.inv(b).mT @ other[1])


def test_what_commutes_with_rotary_positions_is_found() -> None:
    torch.manual_seed(0)
    key, query = normal(2, 4, 9), normal(2, 4, 7)
    angle, radius = torch.rand(2, 2, dtype=F64), 1 + torch.rand(2, 2, dtype=F64)
    factor = torch.polar(radius, angle)[..., None]

    def turned(rows: torch.Tensor, by: torch.Tensor) -> torch.Tensor:
        pairs = torch.complex(rows[:, :2], rows[:, 2:]) * by
        return torch.cat([pairs.real, pairs.imag], 1)

    other = turned(key, factor), turned(query, 1 / factor.conj())
    a, b = rotations((key, query), other, rotary=4)
    torch.testing.assert_close(a @ key, b @ other[0])


def test_each_unit_is_assigned_once_and_bundles_stay_together() -> None:
    torch.manual_seed(0)
    order = torch.tensor([3, 2, 5, 4, 0, 1])
    score = 0.1 * torch.rand(6, 6, dtype=F64)
    score[order, torch.arange(6)] += 1
    assert torch.equal(assigned(score, 1), order)
    assert torch.equal(assigned(score, 2), order)
    apart = torch.tensor([0, 2, 1, 3, 4, 5])  # best one by one, but it parts two bundles
    score = torch.zeros(6, 6, dtype=F64)
    score[apart, torch.arange(6)] = 1
    together = assigned(score, 2).view(3, 2)
    assert torch.equal(
        together.sort().values[:, 1] - together.sort().values[:, 0], torch.ones(3, dtype=torch.long)
    )
    assert torch.equal(together.flatten().sort().values, torch.arange(6))


def test_units_of_zeros_are_left_as_they_are() -> None:
    torch.manual_seed(0)
    written, read = normal(3, 4, 9), normal(3, 4, 7)
    written[1] = read[1] = 0
    a, b, *_ = mixings((written, read), (written, read))
    torch.testing.assert_close(a[1], torch.eye(4, dtype=F64))
    torch.testing.assert_close(a[0] @ written[0], b[0] @ written[0])


@pytest.mark.parametrize(("entries", "columns"), [(3, 5 * WIDEST), (WIDEST + 1, WIDEST + 1)])
def test_rows_keep_their_inner_products_where_they_are_projected(entries: int, columns: int) -> None:
    torch.manual_seed(0)
    rows = normal(entries, columns)
    found = RowPair(rows, rows.flip(0), 1, False, 1.0, 1.0).projected()
    assert found.a.shape[1] == (columns if entries <= WIDEST else WIDEST)
    agreed, expected = (found.a[:50] @ found.b.mT) / columns, (rows[:50] @ rows.flip(0).mT) / columns
    assert float((agreed - expected).abs().max()) < (1e-12 if entries <= WIDEST else 0.25)

"""Where values lie in a file: read and overwritten at any strides, a block at a time."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from peace_pipeline.weights.extents import Place, contiguous
from peace_pipeline.weights.local_blob import overwritable_blob

VALUES = torch.arange(240, dtype=torch.float32)
OFFSET = 8
PLACES = {
    "rows": ((8, 12), (12, 1), 0),
    "columns": ((12, 4), (12, 3), 96),
    "transposed": ((4, 12), (3, 12), 97),
    "sparse rows": ((3, 5), (70, 1), 2),
    "one": ((), (), 5),
    "cube": ((2, 3, 4), (100, 5, 20), 1),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "values"
    path.write_bytes(bytes(OFFSET) + VALUES.numpy().tobytes())
    return path


def place_of(name: str) -> tuple[Place, torch.Tensor]:
    shape, strides, first = PLACES[name]
    return Place(OFFSET + 4 * first, torch.float32, shape, strides), VALUES.as_strided(shape, strides, first)


@pytest.mark.parametrize("block", [4, 64, 1 << 20])
@pytest.mark.parametrize("name", PLACES)
def test_values_are_read_and_overwritten_where_they_lie(name: str, block: int, path: Path) -> None:
    place, expected = place_of(name)
    with overwritable_blob(path) as blob:
        assert torch.equal(place.read(blob, block), expected)
        place.write(blob, -1 - expected, block)
        assert torch.equal(place.read(blob), -1 - expected)
    found = torch.frombuffer(bytearray(path.read_bytes()[OFFSET:]), dtype=torch.float32)
    untouched = VALUES.clone()
    shape, strides, first = PLACES[name]
    untouched.as_strided(shape, strides, first).copy_(-1 - expected.clone())
    assert torch.equal(found, untouched)


def test_numbers_of_the_other_byte_order(path: Path) -> None:
    place, _ = place_of("columns")
    swapped = place._replace(swapped=True)
    with overwritable_blob(path) as blob:
        values = place.read(blob)
        swapped.write(blob, values)
        assert not torch.equal(place.read(blob), values)
        assert torch.equal(swapped.read(blob), values)


@pytest.mark.parametrize(
    ("shape", "strides", "is_contiguous", "overlaps"),
    [
        ((3, 4), (4, 1), True, False),
        ((3, 4), (1, 3), False, False),
        ((3, 4), (2, 1), False, True),
        ((3, 4), (0, 1), False, True),
        ((1, 4), (99, 1), True, False),
    ],
)
def test_what_places_are(
    shape: tuple[int, ...], strides: tuple[int, ...], is_contiguous: bool, overlaps: bool
) -> None:
    place = Place(0, torch.float32, shape, strides)
    assert (place.is_contiguous, place.overlaps) == (is_contiguous, overlaps)


def test_empty_places(path: Path) -> None:
    place = contiguous(OFFSET, torch.float32, (0, 3))
    with overwritable_blob(path) as blob:
        assert place.read(blob).shape == (0, 3)
        place.write(blob, torch.empty(0, 3))
    assert place.stop == place.start == OFFSET

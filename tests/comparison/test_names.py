"""What names say about places and order."""

from __future__ import annotations

import pytest

from peace_pipeline.comparison.names import Places, alike, exchanged, in_order, without


def blocks(place: str, numbers: list[int], *names: str) -> list[str]:
    return [f"{place}.{number}.{name}.weight" for number in numbers for name in names]


def test_places_are_known_by_names_that_end_alike() -> None:
    found = Places(
        [("model.layers.2.mlp.up.weight", "net.layers.0.mlp.up.weight"), ("a.head.weight", "b.top.weight")]
    )
    assert found.of("model.layers.2.mlp.down.weight") == "net.layers.0.mlp.down.weight"
    assert found.of("model.layers.2.norm.weight") == "net.layers.0.norm.weight"
    assert found.of("a.head.bias") == "a.head.bias"


def test_the_tensors_of_a_layer_go_where_its_weight_is() -> None:
    found = Places([("a.head.weight", "b.top.weight")], 1)
    assert found.of("a.head.bias") == "b.top.bias"


def test_names_that_share_more_of_their_end_are_more_alike() -> None:
    (found,) = alike(
        ["x.layers.0.q.weight"], ["y.layers.0.q.weight", "y.layers.1.q.weight", "y.layers.0.k.weight"]
    )
    assert found[0] > found[1] > found[2]


@pytest.mark.parametrize(
    ("order", "expected"),
    [([0, 1, 2, 3], True), ([0, 2, 1, 3], False), ([1, 3, 5, 7], True), ([3, 2, 1, 0], False)],
)
def test_numbers_grow_together(order: list[int], expected: bool) -> None:
    pairs = dict(zip(blocks("layers", [0, 1, 2, 3], "q", "k"), blocks("net.h", order, "q", "k"), strict=True))
    shapes = dict.fromkeys(pairs, (4, 4)), dict.fromkeys(pairs.values(), (4, 4))
    assert in_order(pairs, shapes) is expected


def test_a_tensor_that_stands_for_another_than_its_namesake_is_out_of_order() -> None:
    first = blocks("model.layers", [0, 1], "q", "k", "o", "up")
    second = blocks("net.layers", [0, 1], "k", "q", "o", "up")
    shapes = dict.fromkeys(first, (4, 4)), dict.fromkeys(second, (4, 4))
    assert not in_order(dict(zip(first, second, strict=True)), shapes)
    assert in_order(dict(zip(first, blocks("net.layers", [0, 1], "q", "k", "o", "up"), strict=True)), shapes)


@pytest.mark.parametrize(
    ("gone", "text"),
    [
        ([0, 1], "its first two blocks"),
        ([5], "its last block"),
        ([2, 3], "two blocks (layers.2, layers.3)"),
    ],
)
def test_blocks_that_are_missing_are_told(gone: list[int], text: str) -> None:
    every = [*blocks("layers", list(range(6)), "q", "k"), "head.weight"]
    left = blocks("layers", gone, "q", "k")
    assert without(left, every) == text
    assert without([*left, "head.weight"], every) == f"{text}, head"


def test_networks_of_one_file_may_be_exchanged() -> None:
    names = [f"{role}.{number}.weight" for role in ("actor", "critic") for number in (0, 2)]
    shapes = dict.fromkeys(names, (4, 4))
    turned = dict(zip(names, names[2:] + names[:2], strict=True))
    assert exchanged(turned, (shapes, shapes))
    assert not in_order(turned, (shapes, shapes))
    assert not exchanged({name: name for name in names}, (shapes, shapes))
    moved = {f"net.{number}.weight": f"net.{number + 1}.weight" for number in range(3)}
    both = dict.fromkeys(moved, (4, 4)), dict.fromkeys(moved.values(), (4, 4))
    assert not exchanged(moved, both)


def test_a_part_of_a_layer_is_called_by_its_name() -> None:
    every = ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]
    assert without(["fc1.weight", "fc1.bias", "fc2.bias"], every) == "fc1, fc2.bias"


def test_the_smallest_place_that_is_known_counts() -> None:
    found = Places([("layers.2.up.weight", "layers.0.up.weight")], 1)
    assert found.known("layers.2.down.weight") > found.known("layers.0.down.weight")

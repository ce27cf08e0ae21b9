"""Equivalent is only what is accounted for in both networks: blocks dropped, inserted, moved; copies; names."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from peace_pipeline.comparison.verdict import compare
from peace_pipeline.lake import Lake
from tests.lakes import write_model

State = dict[str, torch.Tensor]
SHAPES = {
    "attn.q": (24, 24),
    "attn.k": (24, 24),
    "attn.o": (24, 24),
    "mlp.up": (40, 24),
    "mlp.down": (24, 40),
}


def network(order: list[int], place: str = "model.layers", *, more: int = 0) -> State:
    """Blocks of values that depend on the block, in an order; ``more`` of them are new."""
    found: State = {}
    for position, number in enumerate([*order, *range(100, 100 + more)]):
        generator = torch.Generator().manual_seed(number)
        for name, shape in SHAPES.items():
            found[f"{place}.{position}.{name}.weight"] = torch.randn(shape, generator=generator)
    generator = torch.Generator().manual_seed(1000)
    return found | {f"{place.partition('.')[0]}.embed.weight": torch.randn(60, 24, generator=generator)}


def said(lake: Lake, tmp_path: Path, a: State, b: State) -> tuple[str, str | None, str]:
    paths = [write_model(tmp_path / name, state) for name, state in (("a", a), ("b", b))]
    found = compare(lake, *map(str, paths))
    assert found["similarity"] <= 1
    return found["verdict"], found.get("relation"), found["reason"]


@pytest.mark.parametrize(
    ("kept", "text"),
    [
        ([2, 3, 4, 5], "B is part of A without its first two blocks"),
        ([0, 1, 2, 3, 4], "B is part of A without its last block"),
        ([0, 1, 4, 5], "B is part of A without two blocks (model.layers.2, model.layers.3)"),
    ],
)
@pytest.mark.parametrize("place", ["model.layers", "net.h"])
def test_blocks_that_were_dropped(lake: Lake, tmp_path: Path, kept: list[int], text: str, place: str) -> None:
    verdict, relation, reason = said(lake, tmp_path, network(list(range(6))), network(kept, place))
    assert (verdict, relation) == ("derived", "part of")
    assert reason.startswith(text)


def test_a_block_that_was_inserted(lake: Lake, tmp_path: Path) -> None:
    verdict, relation, reason = said(lake, tmp_path, network([0, 1, 2]), network([0, 7, 1, 2]))
    assert (verdict, relation) == ("derived", "part of")
    assert "A is part of B without one block (model.layers.1)" in reason


def test_as_many_blocks_of_which_some_are_new(lake: Lake, tmp_path: Path) -> None:
    assert said(lake, tmp_path, network(list(range(6))), network([2, 3, 4, 5], more=2))[0] == "derived"


def test_blocks_that_have_changed_places_under_other_names(lake: Lake, tmp_path: Path) -> None:
    first = network([0, 1, 2, 3])
    assert said(lake, tmp_path, first, network([0, 1, 2, 3], "net.h"))[0] == "equivalent"
    assert said(lake, tmp_path, first, network([0, 2, 1, 3], "net.h"))[:2] == ("derived", "reordered")


def test_blocks_that_have_changed_places_under_the_same_names(lake: Lake, tmp_path: Path) -> None:
    assert said(lake, tmp_path, network([0, 1, 2, 3]), network([0, 2, 1, 3]))[:2] == ("derived", "reordered")


def test_a_block_that_comes_twice_is_more_than_one(lake: Lake, tmp_path: Path) -> None:
    assert said(lake, tmp_path, network([0, 1, 2]), network([0, 1, 1, 2]))[:2] == ("derived", "part of")


def test_layers_that_have_changed_places_within_blocks(lake: Lake, tmp_path: Path) -> None:
    first = network([0, 1, 2])
    turned = {"attn.q": "attn.k", "attn.k": "attn.o", "attn.o": "attn.q"}
    second = {
        name.replace("model", "net").replace(old, turned[old]): value
        for name, value in first.items()
        for old in [next((part for part in turned if part in name), "attn.q")]
    }
    assert said(lake, tmp_path, first, second)[:2] == ("derived", "reordered")


def test_everything_renamed(lake: Lake, tmp_path: Path) -> None:
    first = network([0, 1, 2])
    words = {
        "model": "tower",
        "layers": "stack",
        "attn.q": "a",
        "attn.k": "b",
        "attn.o": "c",
        "mlp.up": "d",
        "mlp.down": "e",
    }
    second = {}
    for name, value in first.items():
        for old, new in words.items():
            name = name.replace(old, new)
        second[name] = value
    assert said(lake, tmp_path, first, second)[0] == "equivalent"


def test_a_copy_of_the_embedding_and_a_bias_of_zeros_do_not_matter(lake: Lake, tmp_path: Path) -> None:
    first = network([0, 1])
    copied = first | {"lm_head.weight": first["model.embed.weight"].clone()}
    assert said(lake, tmp_path, first, copied)[0] == "equivalent"
    biased = first | {"model.layers.0.mlp.up.bias": torch.zeros(40)}
    assert said(lake, tmp_path, first, biased)[0] == "equivalent"
    biased["model.layers.0.mlp.up.bias"] = torch.ones(40)
    assert said(lake, tmp_path, first, biased)[:2] == ("derived", "part of")


def test_one_layer_of_a_network_is_a_part_of_it(lake: Lake, tmp_path: Path) -> None:
    first = network([0, 1])
    verdict, relation, reason = said(lake, tmp_path, first, {"embedding.weight": first["model.embed.weight"]})
    assert (verdict, relation) == ("derived", "part of")
    assert reason.startswith("B is part of A")

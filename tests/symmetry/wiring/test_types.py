"""A wiring says where its groups are and what moves with them."""

from __future__ import annotations

from peace_pipeline.symmetry.wiring.builder import WiringBuilder
from peace_pipeline.symmetry.wiring.symmetries import GAIN, PERMUTE, SCALE
from peace_pipeline.symmetry.wiring.types import FIXED, Axis, Group, WiredLayer, Wiring
from peace_pipeline.weights.layers import Layer

HEADS = 3


def linear(name: str, *shape: int) -> Layer:
    return Layer(name, "linear", shape, {"weight": f"{name}.weight", "bias": f"{name}.bias"})


def norm(name: str, size: int) -> Layer:
    return Layer(name, "norm", (size,), {"gain": f"{name}.weight"})


def attended(width: int) -> Wiring:
    """A stream of 12, read after a norm by an attention of three heads of ``width`` entries."""
    wide = HEADS * width
    layers = [linear("in", 12, 5), norm("norm", 12), *(linear(name, wide, 12) for name in "qkv")]
    net = WiringBuilder([*layers, linear("o", 12, wide), linear("out", 4, 12)], {})
    stream = net.group("stream", PERMUTE)
    net.dense("in", stream, "input")
    net.attention(("q", "k", "v", "o"), net.normed(stream, "norm"), stream, HEADS)
    net.dense("out", "output", stream)
    return net.wiring("family")


def joined() -> Wiring:
    """Two groups that one layer writes at once: one is written again, and read behind a gate of each unit."""
    layers = [linear("both", 10, 5), linear("again", 6, 6), linear("gate", 6, 1), linear("out", 3, 6)]
    net = WiringBuilder([*layers, linear("other", 3, 4), linear("all", 2, 10)], {})
    first, second = net.group("first", PERMUTE, SCALE, size=6), net.group("second", PERMUTE, size=4)
    both = net.joined("joined", [first, second])
    net.dense("both", both, "input")
    net.dense("again", first, first)
    gated = net.each("gated", "relu", first)
    net.diagonal("gate", gated, first)
    net.dense("out", "output", gated)
    net.dense("other", "others", second)
    net.dense("all", "sums", both)
    return net.wiring("family")


def names(found: list[tuple[WiredLayer, Axis]]) -> list[str]:
    return [layer.layer.name for layer, _ in found]


def test_entries_of_heads_follow_the_order_of_the_heads_but_are_neurons_of_their_own() -> None:
    wiring = attended(width=2)
    assert wiring.order("v.values") == wiring.order("k.keys") == "o.heads"
    assert wiring.root("v.values") == "v.values"
    assert wiring.orders("v.values") == ("o.heads",)
    assert wiring.leaves("v.values") == (("v.values", 0),)


def test_heads_of_one_entry_are_the_neurons_of_the_heads() -> None:
    wiring = attended(width=1)
    assert wiring.root("v.values") == wiring.order("v.values") == "o.heads"
    assert names(wiring.axes("o.heads", along=True)) == ["q", "k", "v", "o"]
    assert not wiring.axes("o.heads")


def test_what_a_norm_gives_are_neurons_of_the_stream() -> None:
    wiring = attended(width=2)
    assert GAIN in wiring.groups["norm"].actions
    assert wiring.above("norm") == ("norm", "stream")
    assert wiring.root("norm") == wiring.order("norm") == "stream"
    assert names(wiring.axes("stream")) == names(wiring.touching("stream")) == ["in", "o", "out"]
    assert names(wiring.axes("stream", along=True)) == ["in", "q", "k", "v", "o", "out"]


def test_axes_over_a_group_are_those_over_its_concatenations_too_in_the_order_of_data_flow() -> None:
    wiring = joined()
    assert names(wiring.touching("first")) == ["again", "again", "gate"]
    assert names(wiring.axes("first")) == ["both", "again", "again", "gate", "all"]
    assert names(wiring.axes("first", along=True)) == ["both", "again", "again", "gate", "gate", "out", "all"]
    assert [group.name for group in wiring.wholes("first")] == ["joined"]


def test_leaves_begin_where_they_stand_in_a_concatenation() -> None:
    wiring = joined()
    assert wiring.leaves("joined") == (("first", 0), ("second", 6))
    assert wiring.orders("joined") == ("first", "second")
    assert wiring.leaves("gated") == (("first", 0),)


def test_dependents_and_bases_are_found_over_any_number_of_steps() -> None:
    wiring = joined()
    assert {group.name for group in wiring.dependents("first")} == {"joined", "gated"}
    assert wiring.bases("joined") == ["joined", "first", "second"]
    assert wiring.bases("gated") == ["gated", "first"]
    assert {group.name for group in attended(width=2).dependents("o.heads")} == {"k.keys", "v.values"}


def test_parts_come_with_the_first_layer_that_writes_them() -> None:
    assert [group.name for group in joined().acting(SCALE)] == ["first", "gated"]


def test_a_layer_knows_every_layer_whose_tensors_it_takes() -> None:
    by_name = {wired.layer.name: wired for wired in attended(width=2).layers}
    assert [layer.name for layer in by_name["q"].every] == ["q", "norm"]
    assert [layer.name for layer in by_name["o"].every] == ["o"]


def test_folded_wirings_keep_all_that_acts_on_their_units() -> None:
    """Mamba-2's projection: parts that move along heads, which no axis names."""
    groups = {
        "heads": Group("heads", 2, "permutable"),
        "part": Group("part", 2, "permutable", along="heads"),
        "out": Group("out", 4, FIXED, parts=("part", "part")),
    }
    layer = Layer("a", "linear", (4, 3), {"weight": "a.weight"})
    groups["in"] = Group("in", 3, FIXED)
    folded = Wiring("traced", groups, (WiredLayer(layer, Axis("out"), Axis("in", dim=1)),)).folded
    assert folded.order("part") == "heads"

"""A family's facts are declared once, and read by what splits tensors and by what wires them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from peace_pipeline.symmetry.wiring.families import FAMILIES
from peace_pipeline.symmetry.wiring.families.registry import family
from peace_pipeline.weights.conventions import CONVENTIONS, Conventions, conventions_of
from peace_pipeline.weights.conventions.facts import BY_HEAD, declare
from peace_pipeline.weights.logical import views_of
from tests.networks import infos

FUSED = infos(block__pqr__weight=(24, 8))
HEADS = {"hidden_size": 8, "num_attention_heads": 2}


@pytest.fixture
def novel() -> Iterator[Conventions]:
    """A family that fuses queries, keys and values of each head under a name of its own."""
    yield declare(Conventions(("novel",), fused={"pqr": BY_HEAD}))
    del CONVENTIONS["novel"]


def test_a_declared_family_is_read_by_its_facts_and_no_other_is(novel: Conventions) -> None:
    config: dict[str, Any] = {"model_type": "novel", **HEADS}
    assert conventions_of(config) is novel
    parts = {f"block.{part}.weight": (8, 8) for part in "qkv"}
    assert {name: view.info.shape for name, view in views_of(FUSED, config).items()} == parts
    assert views_of(FUSED, HEADS).keys() == {"block.pqr.weight"}


def test_a_model_type_is_declared_once(novel: Conventions) -> None:
    with pytest.raises(ValueError, match="declared twice: novel"):
        declare(Conventions(("other", "novel")))
    assert "other" not in CONVENTIONS


@pytest.mark.parametrize("kind", ["nobody's", None, 7, ["bert"], {}])
def test_of_an_unknown_family_nothing_is_taken_for_granted(kind: object) -> None:
    assert conventions_of({"model_type": kind}) == Conventions()


def test_every_wired_family_has_its_conventions() -> None:
    assert FAMILIES.keys() <= CONVENTIONS.keys()
    named = {name for name, each in CONVENTIONS.items() if each.timm}
    assert named <= FAMILIES.keys()


def test_a_family_is_wired_once() -> None:
    before = dict(FAMILIES)
    with pytest.raises(ValueError, match=r"wired twice: .*bert"):
        family(conventions_of({"model_type": "bert"}))(lambda net: None)
    assert before == FAMILIES

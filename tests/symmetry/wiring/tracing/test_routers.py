"""Experts of traced networks and their routers."""

from __future__ import annotations

from pathlib import Path

import pytest

from peace_pipeline.symmetry.wiring.symmetries import PERMUTE, SHUFFLE
from tests.symmetry.wiring.tracing.networks import LIBRARY
from tests.symmetry.wiring.tracing.test_modules import Traced


@pytest.mark.parametrize("name", ["olmoe", "deepseek"])
def test_experts_are_permuted_with_the_rows_of_their_router(name: str, tmp_path: Path) -> None:
    wiring = Traced.build(LIBRARY[name], tmp_path / "saved").wiring
    hidden = [group for group in wiring.groups.values() if SHUFFLE in group.actions]
    experts = {group.along: wiring.groups[group.along] for group in hidden if group.along}
    assert hidden
    assert all(PERMUTE in group.actions for group in experts.values())
    routers = [wired for wired in wiring.layers if wired.layer.name.endswith("mlp.gate")]
    assert routers
    assert {wired.out.group for wired in routers} == {*experts}

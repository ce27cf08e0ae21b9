"""docs/symmetries.md says what the wirings claim."""

from __future__ import annotations

from pathlib import Path

from peace_pipeline.symmetry.wiring.symmetries import SCALE
from peace_pipeline.symmetry.wiring.types import Group, Wiring
from tests.specimens import FAMILIES

from .table import EXACT, PAGE, page, table, wiring_of


def test_the_page_says_what_the_wirings_claim(tmp_path: Path) -> None:
    text = PAGE.read_text()
    assert page(text, tmp_path) == text, "python -m tests.symmetry.table writes it anew"


def test_a_claim_less_is_seen(tmp_path: Path) -> None:
    wiring = wiring_of(FAMILIES["mlp_relu"], tmp_path / "mlp")
    groups = {
        name: Group(name, group.size, group.kind, tuple(a for a in group.actions if a != SCALE))
        for name, group in wiring.groups.items()
    }
    less = Wiring(wiring.method, groups, wiring.layers, wiring.family)
    assert table({"mlp": wiring}).count(EXACT) == table({"mlp": less}).count(EXACT) + 1

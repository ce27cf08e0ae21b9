"""The table of docs/symmetries.md: which actions are symmetries of which network, from the wirings that they get.

python -m tests.symmetry.table        # writes the table anew
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from peace_pipeline.symmetry.group.elements import is_of_heads
from peace_pipeline.symmetry.opening import OpenNetwork
from peace_pipeline.symmetry.wiring.symmetries import (
    FLIP,
    FREE,
    GAIN,
    LINEAR,
    MIX,
    NORMALISED,
    ORTHOGONAL,
    PERMUTE,
    ROTATE,
    SCALE,
    SHIFT,
    SIGN,
)
from peace_pipeline.symmetry.wiring.types import FIXED, Wiring
from peace_pipeline.weights.checkpoint import open_checkpoint, weight_files
from peace_pipeline.zoo.card import read_config
from tests.specimens import FAMILIES, Specimen

PAGE = Path(__file__).parents[2] / "docs" / "symmetries.md"
BEGIN, END = "<!-- table: python -m tests.symmetry.table -->\n", "<!-- end of table -->\n"
EXACT = "exact"
HEADS = "heads"
COLUMNS = (
    PERMUTE, HEADS, SCALE, SIGN, FLIP, MIX, ROTATE, LINEAR, ORTHOGONAL, NORMALISED, GAIN,
    SHIFT, FREE,
)  # fmt: skip


@dataclass(frozen=True)
class Facts:
    """What a network has, as its wiring tells."""

    wiring: Wiring

    @property
    def heads(self) -> bool:
        return any(is_of_heads(self.wiring, group) for group in self.wiring.groups.values())

    @property
    def rotary(self) -> bool:
        return any(group.rotary for group in self.wiring.groups.values())

    @property
    def normed_keys(self) -> bool:
        return self.actions(NORMALISED)

    @property
    def norms(self) -> bool:
        return any(wired.layer.is_norm or wired.norm or wired.before for wired in self.wiring.layers)

    @property
    def rms_norms(self) -> bool:
        """Whether what it has for norms of streams doesn't centre."""
        before = [wired.before for wired in self.wiring.layers if wired.before]
        return bool(before) and all("shift" not in norm.tensors for norm in before)

    @property
    def is_adapter(self) -> bool:
        return self.wiring.family == "lora"

    def actions(self, action: str) -> bool:
        """Whether a group has an action."""
        for group in self.wiring.groups.values():
            if action == HEADS:
                if PERMUTE in group.actions and is_of_heads(self.wiring, group):
                    return True
            elif action in group.actions and (action != PERMUTE or not is_of_heads(self.wiring, group)):
                return True
        return False

    @property
    def fixed_stream(self) -> bool:
        stream = self.wiring.groups.get("stream")
        return stream is not None and stream.kind == FIXED


Rule = tuple[Callable[[Facts], bool], str]


def _always(facts: Facts) -> bool:
    return True


_NO_HEADS: Rule = (lambda facts: not facts.heads, "it has no attention heads")
REASONS: dict[str, tuple[Rule, ...]] = {
    HEADS: (_NO_HEADS,),
    SCALE: (
        (_always, "no units are linear or positively homogeneous: norms, GELU, SiLU, tanh or gates act on all"),
    ),
    SIGN: ((_always, "no units are linear or odd: ReLU, GELU, SiLU, or norms that centre act on all"),),
    FLIP: ((_always, "no units are sigmoids that a layer with a bias reads one position at a time"),),
    MIX: (_NO_HEADS,),
    ROTATE: (
        _NO_HEADS,
        (lambda facts: facts.normed_keys, "queries and keys are normed, and the norm's gain isn't turned along"),
        (_always, "no rotary positions: any invertible map is a symmetry (mix)"),
    ),
    LINEAR: (
        (_always, "no units are linear, or a norm, a gate or an output acts on each of them by itself"),
    ),
    ORTHOGONAL: (
        (lambda facts: not facts.norms, "no norm reads its units: where they are linear, any map is one"),
        (lambda facts: not facts.rms_norms, "norms that centre or act on single channels don't commute with it"),
        (lambda facts: facts.fixed_stream, "the stream is the network's output"),
        (_always, "a norm's gain can't be absorbed: its stream goes on, or a tied unembedding reads it"),
    ),
    NORMALISED: (_NO_HEADS, (_always, "queries and keys aren't normed")),
    GAIN: (
        (lambda facts: not facts.norms, "it has no norm"),
        (_always, "the norms stand in streams, or have no gain of their own"),
    ),
    SHIFT: ((_always, "no bias of values or of a LayerNorm is read by layers that all have biases"),),
    FREE: (
        _NO_HEADS,
        (lambda facts: facts.rotary, "rotary positions turn the keys' bias: softmax sees it"),
        (lambda facts: facts.normed_keys, "keys are normed, which sees a bias"),
        (_always, "keys have no bias"),
    ),
}  # fmt: skip
"""Action → why it is no symmetry of a network: the first that is so."""


def wiring_of(specimen: Specimen, folder: Path) -> Wiring:
    """What PEACE takes a specimen for."""
    specimen.save(specimen.build(0), folder)
    with open_checkpoint(weight_files(folder)) as checkpoint:
        return OpenNetwork.of(checkpoint, read_config(folder)).wiring


def table(wirings: dict[str, Wiring]) -> str:
    """The table in Markdown, and the reasons below it."""
    notes: dict[str, int] = {}
    rows = [f"| network | {' | '.join(COLUMNS)} |", f"|---|{'---|' * len(COLUMNS)}"]
    for name, wiring in wirings.items():
        facts = Facts(wiring)
        cells = [_cell(facts, action, notes) for action in COLUMNS]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    reasons = [f"{number}. Not a symmetry: {reason}." for reason, number in notes.items()]
    return "\n".join([*rows, "", *reasons, ""])


def page(text: str, folder: Path) -> str:
    """The page with the table as it should be; networks are saved into ``folder``."""
    wirings = {name: wiring_of(specimen, folder / name) for name, specimen in FAMILIES.items()}
    return text[: text.index(BEGIN) + len(BEGIN)] + table(wirings) + text[text.index(END) :]


def _cell(facts: Facts, action: str, notes: dict[str, int]) -> str:
    if facts.actions(action):
        return EXACT
    reason = next(reason for holds, reason in REASONS[action] if holds(facts))
    return f"no ({notes.setdefault(reason, len(notes) + 1)})"


def main() -> None:
    """Write the table anew."""
    with tempfile.TemporaryDirectory() as folder:
        PAGE.write_text(page(PAGE.read_text(), Path(folder)))


if __name__ == "__main__":
    main()

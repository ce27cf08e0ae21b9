"""LoRA: pairs of layers of low rank, beside the layers of any family or in a file of their own (Hu et al. 2022)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator

from peace_pipeline.symmetry.families.registry import FAMILIES, Family, family
from peace_pipeline.symmetry.sketch import Sketch
from peace_pipeline.symmetry.wiring import WiringMismatch

_PARTNERS = {"A": "B", "down": "up"}
_FIRST = re.compile(r"(?P<base>.*)\.(?P<kind>lora_(?:embedding_)?)(?P<part>A|down)(?P<adapter>(?:\.\w+)?)")
"""The first layer of a pair."""


def adapter_of(names: Collection[str]) -> Family | None:
    """The family of adapters, where layers have pairs without their base."""
    return FAMILIES["lora"] if any(base not in names for base, _, _ in _pairs(names)) else None


def draw_pairs(net: Sketch) -> None:
    """Draw the pairs beside the layers that are drawn. What those without a base read and write has its places in
    another file.

    Raises:
        WiringMismatch: where a base is diagonal or a norm follows it, or a third factor stands between a pair.
    """
    for base, first, second in _pairs(net.layers):
        if f"{base}.lora_E" in net:
            raise WiringMismatch(f"{base} has singular values between its pair")
        if base in net:
            net.low_rank(base, first, second)
        else:
            net.dense(first, net.hidden(first, "linear"), f"{base}.in")
            net.dense(second, f"{base}.out", first)


@family("lora")
def lora(net: Sketch) -> None:
    """All that was trained beside the pairs, which are drawn later."""
    pairs = {name for _, *pair in _pairs(net.layers) for name in pair}
    for name in [name for name in net.layers if name not in pairs]:
        if len(net.layers[name].shape) > 1:
            net.dense(name, f"{name}.out", f"{name}.in")
        else:
            net.vector(name, f"{name}.out")


def _pairs(names: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """Name of the base, of the layer that reads what it reads, and of the one that writes what it writes."""
    for name in names:
        if match := _FIRST.fullmatch(name):
            second = f"{match['base']}.{match['kind']}{_PARTNERS[match['part']]}{match['adapter']}"
            yield match["base"], name, second

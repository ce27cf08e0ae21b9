"""LoRA: pairs of layers of low rank, beside the layers of any family or in a file of their own (Hu et al. 2022)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from peace_pipeline.symmetry.wiring.builder import WiringBuilder
from peace_pipeline.symmetry.wiring.families.registry import FAMILIES, Family, family
from peace_pipeline.symmetry.wiring.types import WiringMismatch
from peace_pipeline.weights.conventions.lora import LORA

_CORE = "lora_mid"
_SECOND_OF = {"A": "B", "down": "up"}
_PART = re.compile(
    r"(?P<base>.*)\.(?P<kind>lora_(?:embedding_)?)(?P<part>A|B|down|up)(?P<adapter>(?:\.\w+)?)"
)


def adapter_of(names: Collection[str]) -> Family | None:
    """The family of adapters, where layers have pairs without their base."""
    return FAMILIES["lora"] if any(base not in names for base, _, _ in _pairs(names)) else None


def wire_pairs(net: WiringBuilder) -> None:
    """Wire the pairs beside the layers that are wired, with the core between a pair (LoCon; Yeh et al. 2024). What
    those without a base read and write has its places in another file.

    Raises:
        WiringMismatch: where a base is diagonal or a norm follows it, or singular values or a core stand between a pair
            beside a base.
    """
    pairs = list(_pairs(net.layers))
    for base, first, second in pairs:
        core = f"{base}.{_CORE}"
        if f"{base}.lora_E" in net:
            raise WiringMismatch(f"{base} has singular values between its pair")
        if base not in net:
            inner = net.hidden(first, "linear")
            net.dense(first, inner, f"{base}.in")
            if core in net:
                net.dense(core, net.hidden(core, "linear"), inner)
            net.dense(second, f"{base}.out", core if core in net else inner)
        elif core in net:
            raise WiringMismatch(f"{base} has a core between its pair")
    net.low_rank(pair for pair in pairs if pair[0] in net)


@family(LORA)
def lora(net: WiringBuilder) -> None:
    """All that was trained beside the pairs, which are wired later."""
    pairs = {name for base, *pair in _pairs(net.layers) for name in (*pair, f"{base}.{_CORE}")}
    for name in [name for name in net.layers if name not in pairs]:
        if len(net.layers[name].shape) > 1:
            net.dense(name, f"{name}.out", f"{name}.in")
        else:
            net.vector(name, f"{name}.out")


def _pairs(names: Collection[str]) -> Iterator[tuple[str, str, str]]:
    """Name of the base, of the layer that reads what it reads, and of the one that writes what it writes. The parts of
    a fused base have a second layer each, and the first one of what they are parts of."""
    firsts: dict[str, str] = {}
    seconds: dict[str, str] = {}
    fused: dict[str, list[str]] = {}
    for name in names:
        if match := _PART.fullmatch(name):
            base, kind, part, adapter = match.groups()
            second = f"{kind}{_SECOND_OF.get(part, part)}{adapter}"
            if part not in _SECOND_OF:
                seconds[name] = base
            else:
                firsts[f"{base}.{second}"] = name
                if base not in names:
                    fused.setdefault(f"{base.rpartition('.')[0]}.{second}", []).append(name)
    for second, base in seconds.items():
        shared = f"{base.rpartition('.')[0]}{second.removeprefix(base)}"
        yield base, firsts.get(second) or _only(fused.get(shared, [])), second


def _only(names: list[str]) -> str:
    """The one name; where there isn't one, a name that no layer has."""
    return names[0] if len(names) == 1 else ""

"""Experts of a traced network: they may change places where the rows of their router do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from peace_pipeline.symmetry.wiring.symmetries import PERMUTE
from peace_pipeline.symmetry.wiring.types import FIXED, PERMUTABLE, Axis, WiredLayer, Wiring
from peace_pipeline.weights.conventions import number_in

_EXPERTS = "experts.down_proj"


def with_routers(wiring: Wiring, config: Mapping[str, Any]) -> Wiring:
    """The wiring in which experts and the rows of the router beside them are permuted together: no operation shows
    that what is looked up by the largest scores may be, so it is to be tried. Where the config puts experts into groups
    that are chosen first, the groups stay together.
    """
    for wired in wiring.layers:
        if wired.layer.name.endswith(f".{_EXPERTS}") and wired.into:
            at = wired.layer.name.removesuffix(_EXPERTS)
            experts = wiring.groups[wiring.groups[wired.into.group].along or wired.into.group]
            if experts.kind == FIXED and experts.name != wired.into.group:
                wiring = _with_router(wiring, at, experts.name, number_in(config, "n_group") or 1)
    return wiring


def _with_router(wiring: Wiring, at: str, experts: str, groups: int) -> Wiring:
    size = wiring.groups[experts].size
    beside = {
        axis.group
        for wired in wiring.layers
        if wired.layer.name.startswith(at)
        for axis in wired.axes
        if _has_places(wiring, axis.group, size, at)
    }
    if not beside or size % groups:
        return wiring

    def moved(axis: Axis) -> Axis:
        return replace(axis, group=experts, charge=0) if axis.group in beside else axis

    def rewired(wired: WiredLayer) -> WiredLayer:
        return replace(wired, out=moved(wired.out), into=wired.into and moved(wired.into))

    bundle = size // groups if groups > 1 else 1
    own = replace(wiring.groups[experts], kind=PERMUTABLE, actions=(PERMUTE,), bundle=bundle)
    layers = tuple(map(rewired, wiring.layers))
    kept = {base for wired in layers for axis in wired.axes for base in wiring.bases(axis.group)}
    others = {name: group for name, group in wiring.groups.items() if name in kept}
    return replace(wiring, groups=others | {experts: own}, layers=layers)


def _has_places(wiring: Wiring, group: str, size: int, at: str) -> bool:
    """Whether a group of so many units has places, and only layers that begin with ``at`` run over it."""
    touching = [wired.layer.name for wired, _ in wiring.touching(group)]
    return (
        wiring.groups[group].entries == size
        and not any(wiring.groups[base].actions for base in wiring.bases(group))
        and not wiring.following(group)
        and all(name.startswith(at) for name in touching)
    )

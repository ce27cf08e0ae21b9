"""Which wiring a checkpoint has: by family, else by tracing the module that an installed library builds from the
config, else a plain chain by names and shapes where the config names no class, else ``independent``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from peace_pipeline.symmetry.wiring.ambiguities import left_open
from peace_pipeline.symmetry.wiring.builder import WiringBuilder
from peace_pipeline.symmetry.wiring.chains import chain, partial, wrappers
from peace_pipeline.symmetry.wiring.couplings import Couplings
from peace_pipeline.symmetry.wiring.declared import is_declared, is_ours
from peace_pipeline.symmetry.wiring.families import Family, family_of
from peace_pipeline.symmetry.wiring.families.lora import adapter_of, wire_pairs
from peace_pipeline.symmetry.wiring.flows import confirmed, flow, parts
from peace_pipeline.symmetry.wiring.symmetries import GAIN
from peace_pipeline.symmetry.wiring.tracing.libraries import UnknownClass, traced
from peace_pipeline.symmetry.wiring.types import (
    FIXED,
    INDEPENDENT,
    Axis,
    Group,
    WiredLayer,
    Wiring,
    WiringMismatch,
    epsilon,
)
from peace_pipeline.weights.layers import Layer, layers_of
from peace_pipeline.weights.tensors import Passage, TensorInfo


def infer_wiring(tensors: Iterable[TensorInfo], config: dict[str, Any]) -> Wiring:
    """The wiring of a checkpoint with these tensors and this config.json (which may be empty).

    Raises:
        WiringMismatch: where no tensor belongs to a layer.
    """
    return explained_wiring(tensors, config)[0]


def explained_wiring(
    tensors: Iterable[TensorInfo], config: dict[str, Any], passages: Sequence[Passage] = ()
) -> tuple[Wiring, str]:
    """The wiring of a checkpoint, and in words why it is this one; ``passages`` are what its file says of the flow of
    data.

    Raises:
        WiringMismatch: where no tensor belongs to a layer.
    """
    tensors = list(tensors)
    layers = layers_of(tensors)
    if not layers:
        raise WiringMismatch("no layers")
    adapter = adapter_of({layer.name for layer in layers})
    family = adapter or family_of(config)
    found = "its parameters are" if adapter else "its config names"
    unfit = "its config names no family whose wiring is known" if config else "no config says what it is"
    if family:
        try:
            return (_as_named if adapter else _by_family)(family, layers, config), (
                f"{found} {family.name}, a family whose wiring is known, and all names and shapes fit"
            )
        except WiringMismatch as mismatch:
            unfit = f"{found} {family.name}, but {mismatch}"
    declared = family is None and is_declared(tensors, config)
    if declared and (known := chain(layers, config, declared=True, is_ours=is_ours(tensors, config))):
        said = "its config is that of a plain chain, and all names and shapes fit"
        known = confirmed(known, passages)
        return known, "; ".join([said, *known.notes])
    unknown = "how its layers are coupled is not known, so no symmetry is claimed"
    classes = config.get("architectures")
    if adapter is None and isinstance(classes, list) and classes:
        module = f"{classes[0]} of transformers"
        try:
            seen = traced(tensors, config)
        except UnknownClass as mismatch:
            unfit = f"{unfit}; {mismatch}"
            if _is_of_code(config):
                return independent(layers), f"{unfit}; {unknown}"
        except WiringMismatch as mismatch:
            return independent(layers), f"{unfit}; {module} was not followed: {mismatch}; {unknown}"
        else:
            followed = f"{module} has the same tensors, and what it does with them was followed"
            return seen, "; ".join([unfit, followed, *seen.notes])
    if family is not None:
        return independent(layers), f"{unfit}; {unknown}"
    left = left_open(layers, Couplings(layer for layer in layers if layer.kind not in ("lora_a", "lora_b")))
    but = f", but {left}" if left else ""
    known = chain(layers, config)
    how = f"its layers make one plain chain by names and shapes{'' if left else ', and in no other way'}"
    is_chain = known is not None
    if known is None and not declared:
        known = partial(layers, config)
        how = "of some layers names and shapes say which follow another"
    guess = known and confirmed(known, passages)
    passed = [passage for passage in passages if passage.reader]
    is_less = guess is None or (not is_chain and _acting(guess) < len(passed))
    if is_less or any(passage.turned for passage in passed):
        if in_flow := flow(layers, config, passages):
            return (
                in_flow,
                f"{unfit}; its file holds what is computed: each layer passes its units to the next alone",
            )
        if in_flow := parts(layers, config, passages):
            return (
                in_flow,
                f"{unfit}; its file holds what is computed: of some layers one other reads the units alone",
            )
    if guess:
        return guess, "; ".join([unfit, f"{how}{but}", *guess.notes])
    return independent(layers), f"{unfit}; {unknown}{f': {left}' if left else ''}"


def _acting(wiring: Wiring) -> int:
    """How many groups something may be done to, beside the gains of norms."""
    return sum(any(action != GAIN for action in group.actions) for group in wiring.groups.values())


def _is_of_code(config: dict[str, Any]) -> bool:
    """Whether a config.json is that of a class of transformers, or of one like them that comes with its own code: such
    a one is more than a chain."""
    return bool(config.keys() & {"transformers_version", "auto_map"})


def _by_family(family: Family, layers: list[Layer], config: dict[str, Any]) -> Wiring:
    """The wiring of a family's network, which may be a part of a module (``model.``, ``backbone.``) that has no other.

    Raises:
        WiringMismatch: where names or shapes don't fit.
    """
    try:
        return _as_named(family, layers, config)
    except WiringMismatch as mismatch:
        for start in wrappers([layer.name for layer in layers]):
            inner = {layer.name.removeprefix(start): layer for layer in layers}
            bare = [replace(layer, name=name) for name, layer in inner.items()]
            try:
                return _renamed(_as_named(family, bare, config), inner)
            except WiringMismatch:
                continue
        raise mismatch


def _as_named(family: Family, layers: list[Layer], config: dict[str, Any]) -> Wiring:
    builder = WiringBuilder(layers, config)
    family.wire(builder)
    wire_pairs(builder)
    return builder.wiring("family", family.name)


def _renamed(wiring: Wiring, layers: Mapping[str, Layer]) -> Wiring:
    """The same wiring of layers that have other names."""

    def other(layer: Layer | None) -> Layer | None:
        return layer and layers[layer.name]

    wired = (
        replace(each, layer=layers[each.layer.name], norm=other(each.norm), before=other(each.before))
        for each in wiring.layers
    )
    return replace(wiring, layers=tuple(wired))


def independent(layers: list[Layer]) -> Wiring:
    """Each axis a group of its own: how the layers are coupled is not known, so no action is claimed."""
    groups: dict[str, Group] = {}
    wired = []
    for layer in layers:
        out = Group(f"{layer.name}.out", layer.shape[0], INDEPENDENT)
        groups[out.name] = out
        into = None
        if len(layer.shape) > 1:
            into = Group(f"{layer.name}.in", layer.shape[1], INDEPENDENT if layer.shape[1] > 1 else FIXED)
            groups[into.name] = into
        reads = Axis(into.name, dim=1, charge=-1) if into else None
        wired.append(WiredLayer(layer, Axis(out.name), reads, eps=epsilon(layer)))
    return Wiring(INDEPENDENT, groups, tuple(wired))

"""Which wiring a checkpoint has: by family, else a plain chain by names and shapes, else by tracing the module that an
installed library builds from the config, else ``independent``."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from itertools import groupby, permutations
from typing import Any

from natsort import natsorted

from peace_pipeline.symmetry.wiring.activations import NOT_POOLED, activation
from peace_pipeline.symmetry.wiring.builder import WiringBuilder
from peace_pipeline.symmetry.wiring.declared import is_ours
from peace_pipeline.symmetry.wiring.families import Family, family_of
from peace_pipeline.symmetry.wiring.families.lora import adapter_of, wire_pairs
from peace_pipeline.symmetry.wiring.tracing.libraries import traced
from peace_pipeline.symmetry.wiring.types import (
    CHAIN,
    FIXED,
    INDEPENDENT,
    ONE_AFTER_THE_OTHER,
    Axis,
    Group,
    WiredLayer,
    Wiring,
    WiringMismatch,
    epsilon,
)
from peace_pipeline.weights.layers import Layer, layers_of
from peace_pipeline.weights.tensors import TensorInfo

_MAX_SEGMENTS = 5


def infer_wiring(tensors: Iterable[TensorInfo], config: dict[str, Any]) -> Wiring:
    """The wiring of a checkpoint with these tensors and this config.json (which may be empty).

    Raises:
        WiringMismatch: where no tensor belongs to a layer.
    """
    return explained_wiring(tensors, config)[0]


def explained_wiring(tensors: Iterable[TensorInfo], config: dict[str, Any]) -> tuple[Wiring, str]:
    """The wiring of a checkpoint, and in words why it is this one.

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
    unfit = "its config names no family whose wiring is known"
    if family:
        try:
            return _by_family(family, layers, config), (
                f"{found} {family.name}, a family whose wiring is known, and all names and shapes fit"
            )
        except WiringMismatch as mismatch:
            unfit = f"{found} {family.name}, but {mismatch}"
    if family is None and (in_chain := chain(layers, config)):
        if is_ours(tensors, config):
            return replace(
                in_chain, assumes=()
            ), "its config is that of a plain chain of PEACE's own zoo, and all fits"
        return in_chain, (
            f"{unfit}; its layers make one plain chain by names and shapes, and in no other way"
        )
    if family is None and (seen := traced(tensors, config)):
        return seen, (
            f"{unfit}; {config['architectures'][0]} of transformers has the same tensors, and what it does with them"
            " was followed"
        )
    return independent(layers), (
        f"{unfit}; how its layers are coupled is not known, so no symmetry is claimed"
    )


def _by_family(family: Family, layers: list[Layer], config: dict[str, Any]) -> Wiring:
    builder = WiringBuilder(layers, config)
    family.wire(builder)
    wire_pairs(builder)
    return builder.wiring("family", family.name)


def chain(layers: list[Layer], config: dict[str, Any]) -> Wiring | None:
    """The wiring of a plain chain, or ``None`` where shapes don't make exactly one.

    The order of the parts that differ in their first name component (``features``, ``classifier``) follows from
    the shapes and must be unique; parts that differ in a number alone (``fc1``, ``fc2``) stand in its order.
    Below that, siblings must be a numbered series: the alphabet says nothing about the order of ``q``, ``k``, ``v``.
    """
    named = {layer.name: layer for layer in layers if layer.kind not in ("lora_a", "lora_b")}
    maps = [name for name, layer in named.items() if not layer.is_norm]
    if len(maps) < 2 or not _numbered_below(maps):
        return None
    parts = segments(named)
    if len(parts) > _MAX_SEGMENTS and len({_stem(part[0].split(".")[0]) for part in parts}) > 1:
        return None
    orders: Iterable[tuple[list[str], ...]] = (
        permutations(parts) if len(parts) <= _MAX_SEGMENTS else [tuple(parts)]
    )
    found = []
    for order in filter(_in_number_order, orders):
        try:
            builder = WiringBuilder(layers, config)
            _wire_chain(builder, [named[name] for part in order for name in part])
            wire_pairs(builder)
            found.append(builder.wiring(CHAIN, assumes=(ONE_AFTER_THE_OTHER,)))
        except WiringMismatch:
            continue
    return found[0] if len(found) == 1 else None


def _stem(component: str) -> str:
    return component.rstrip("0123456789")


def _numbered_below(names: list[str]) -> bool:
    """Whether the components after the first differ from their siblings in a number alone."""
    stems: dict[tuple[str, ...], set[str]] = {}
    for name in names:
        components = name.split(".")
        for depth in range(1, len(components)):
            stems.setdefault(tuple(components[:depth]), set()).add(_stem(components[depth]))
    return all(len(siblings) == 1 for siblings in stems.values())


def _in_number_order(order: tuple[list[str], ...]) -> bool:
    stems: dict[str, list[str]] = {}
    for part in order:
        first = part[0].split(".")[0]
        stem = _stem(first)
        stems.setdefault(stem, []).append(first[len(stem) :])
    return all(numbers == natsorted(numbers) for numbers in stems.values())


def _wire_chain(builder: WiringBuilder, layers: list[Layer]) -> None:
    maps = [layer for layer in layers if not layer.is_norm]
    norms: dict[str, str] = {}
    previous: Layer | None = None
    for layer in layers:
        if layer.is_norm:
            if previous is None or previous.name in norms or not {"mean", "var"} <= layer.tensors.keys():
                raise WiringMismatch(f"{layer.name} follows no layer that it could be folded into")
            norms[previous.name] = layer.name
        else:
            previous = layer
    source = "input"
    for before, layer in zip([None, *maps], maps, strict=False):
        if layer.kind not in ("linear", "conv1d", "conv2d") or layer.name in layer.tensors.values():
            raise WiringMismatch(f"{layer.name}: {layer.kind} is no part of a plain chain")
        if before and not _follows(before.shape, layer.shape):
            raise WiringMismatch(f"{layer.name} doesn't follow {before.name}")
        out = "output" if layer is maps[-1] else _hidden(builder, layer)
        builder.dense(layer.name, out, source, norms.get(layer.name))
        source = out


def _hidden(builder: WiringBuilder, layer: Layer) -> str:
    """The group that a layer of a chain writes. Convolutions may be max-pooled, but for those of our own zoo's "cnn";
    VGG's activation is ReLU where nothing else is said (Simonyan and Zisserman 2015)."""
    kinds = [str(builder.config.get(key)) for key in ("model_type", "architecture")]
    is_vgg = any(kind.startswith("vgg") for kind in kinds)
    is_pooled = layer.kind != "linear" and "cnn" not in kinds
    act = activation(builder.config) or ("relu" if is_vgg else None)
    return builder.hidden(layer.name, act, without=NOT_POOLED if is_pooled else ())


def _follows(before: tuple[int, ...], after: tuple[int, ...]) -> bool:
    if len(after) == 2 < len(before):
        return after[1] % before[0] == 0
    return len(after) == len(before) and after[1] == before[0]


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


def segments(names: Iterable[str]) -> list[list[str]]:
    """Names split by their first component, in natural order within each."""
    ordered = natsorted(names)
    return [list(part) for _, part in groupby(ordered, key=lambda name: name.split(".")[0])]

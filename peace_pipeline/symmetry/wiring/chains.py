"""Networks of which nothing is known but names and shapes: a plain chain, or layers some of which follow another."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, permutations
from typing import Any

from natsort import natsorted

from peace_pipeline.symmetry.wiring.activations import NOT_POOLED, activation
from peace_pipeline.symmetry.wiring.builder import WiringBuilder
from peace_pipeline.symmetry.wiring.couplings import Coupling, Couplings, comes_later
from peace_pipeline.symmetry.wiring.families.lora import wire_pairs
from peace_pipeline.symmetry.wiring.families.recurrent import cells
from peace_pipeline.symmetry.wiring.recurrences import Recurrence, recurrence
from peace_pipeline.symmetry.wiring.symmetries import FLIP, LINEAR, PERMUTE, SCALE, SIGN
from peace_pipeline.symmetry.wiring.types import (
    CHAIN,
    FIXED,
    FLATTENED,
    INDEPENDENT,
    ONE_AFTER_THE_OTHER,
    Axis,
    Wiring,
    WiringMismatch,
)
from peace_pipeline.weights.layers import Layer

_MAX_SEGMENTS = 5
_BUT_PERMUTE = (SCALE, SIGN, FLIP, LINEAR)


def chain(
    layers: list[Layer],
    config: Mapping[str, Any],
    *,
    declared: bool = False,
    is_ours: bool = False,
    assumed: bool = False,
) -> Wiring | None:
    """The wiring of a plain chain, or ``None`` where shapes don't make exactly one.

    The order of the parts that differ in their first name component (``features``, ``classifier``) follows from
    the shapes and must be unique; parts that differ in a number alone (``fc1``, ``fc2``) stand in its order.
    Below that, siblings must be a numbered series: the alphabet says nothing about the order of ``q``, ``k``, ``v``.

    Symmetries are claimed of those units alone of which :class:`Couplings` knows what writes and reads them, or of all
    where the chain is ``declared``; if it is ``assumed``, also of channels that are flattened. Of the others the wiring
    says no more than how they would be coupled. A BatchNorm that may come after the activation is only in a network of
    PEACE's own zoo (``is_ours``) known not to.
    """
    named = {layer.name: layer for layer in layers if layer.kind not in ("lora_a", "lora_b")}
    maps = [name for name, layer in named.items() if not layer.is_norm]
    start = ["", *wrappers(maps)][-1]
    if len(maps) < 2 or not _numbered_below([name[len(start) :] for name in maps]):
        return None
    parts = segments(named, len(start))
    firsts = [part[0][len(start) :].split(".")[0] for part in parts]
    if len(parts) > _MAX_SEGMENTS and len({_stem(first) for first in firsts}) > 1:
        return None
    orders: Iterable[tuple[list[str], ...]] = (
        permutations(parts) if len(parts) <= _MAX_SEGMENTS else [tuple(parts)]
    )
    couplings = Couplings(named.values())
    found = []
    for order in orders:
        if not _in_number_order([part[0][len(start) :].split(".")[0] for part in order]):
            continue
        try:
            builder = WiringBuilder(layers, config)
            in_order = [named[name] for part in order for name in part]
            _wire_chain(builder, in_order, couplings, declared=declared, is_ours=is_ours, assumed=assumed)
            wire_pairs(builder)
            more = (FLATTENED,) if assumed else ()
            assumes = () if declared else (ONE_AFTER_THE_OTHER, *couplings.assumes, *more)
            found.append(builder.wiring(CHAIN, assumes=assumes))
        except WiringMismatch:
            continue
    return found[0] if len(found) == 1 else None


def partial(layers: list[Layer], config: Mapping[str, Any]) -> Wiring | None:
    """The wiring of a network some of whose layers follow another, each other axis a group of its own; ``None`` where
    none does."""
    couplings = Couplings(layer for layer in layers if layer.kind not in ("lora_a", "lora_b"))
    states = recurrence(layers)
    if not couplings.of_writer and not states:
        return None
    builder = WiringBuilder(layers, config)
    last = _wire_recurrence(builder, states) if states else ""
    for layer in _in_order(layers, couplings):
        if not states or layer.name not in states.layers:
            _wire_part(builder, layer, couplings, last if states and states.reader == layer.name else None)
    try:
        wire_pairs(builder)
        return builder.wiring(CHAIN, assumes=(ONE_AFTER_THE_OTHER, *couplings.assumes))
    except WiringMismatch:
        return None


def segments(names: Iterable[str], start: int = 0) -> list[list[str]]:
    """Names split by their first component behind ``start`` characters, in natural order within each."""
    ordered = natsorted(names)
    return [list(part) for _, part in groupby(ordered, key=lambda name: name[start:].split(".")[0])]


def wrappers(names: Sequence[str]) -> list[str]:
    """What stands before all names (``model.``, ``model.backbone.``): modules that have but one, outermost first."""
    found: list[str] = []
    start = ""
    while len(firsts := {name[len(start) :].split(".")[0] for name in names}) == 1:
        following = f"{start}{firsts.pop()}."
        if not all(name.startswith(following) for name in names):
            break
        start = following
        found.append(start)
    return found


def _stem(component: str) -> str:
    """The component without its numbers, which may stand within (``conv0_weights``, of Paddle)."""
    return re.sub(r"\d+", "", component)


def _numbered_below(names: list[str]) -> bool:
    """Whether the components after the first differ from their siblings in a number alone."""
    stems: dict[tuple[str, ...], set[str]] = {}
    for name in names:
        components = name.split(".")
        for depth in range(1, len(components)):
            stems.setdefault(tuple(components[:depth]), set()).add(_stem(components[depth]))
    return all(len(siblings) == 1 for siblings in stems.values())


def _in_number_order(firsts: list[str]) -> bool:
    stems: dict[str, list[str]] = {}
    for first in firsts:
        stems.setdefault(_stem(first), []).append(first)
    return all(numbers == natsorted(numbers) for numbers in stems.values() if len(numbers) > 1)


def _wire_chain(
    builder: WiringBuilder,
    layers: list[Layer],
    couplings: Couplings,
    *,
    declared: bool,
    is_ours: bool,
    assumed: bool,
) -> None:
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
    for before, layer, after in zip([None, *maps], maps, [*maps[1:], None], strict=False):
        if layer.kind not in ("linear", "conv1d", "conv2d") or not layer.has_weight:
            raise WiringMismatch(f"{layer.name}: {layer.kind} is no part of a plain chain")
        if before and not _follows(before.shape, layer.shape):
            raise WiringMismatch(f"{layer.name} doesn't follow {before.name}")
        norm = norms.get(layer.name)
        if after is None:
            builder.dense(layer.name, "output", source, norm)
            continue
        known = couplings.of_writer.get(layer.name)
        is_flattened = assumed and len(layer.shape) > 2 == len(after.shape)
        is_known = declared or is_flattened or (known is not None and known.reader == after.name)
        out = _hidden(builder, layer) if is_known else builder.group(layer.name)
        is_later = norm is not None and not is_ours and comes_later(layer, known)
        builder.dense(layer.name, out, source, None if is_later else norm)
        source = _normed_later(builder, norm, out) if is_later and norm else out


def _normed_later(builder: WiringBuilder, norm: str, units: str) -> str:
    """What a BatchNorm makes of units, perhaps behind their activation."""
    out = builder.each(norm, None, units)
    builder.diagonal(norm, out, units)
    return out


def _hidden(builder: WiringBuilder, layer: Layer, without: Iterable[str] = ()) -> str:
    """The group that a layer of a chain writes. Convolutions may be max-pooled, but for those of our own zoo's "cnn";
    VGG's activation is ReLU where nothing else is said (Simonyan and Zisserman 2015)."""
    kinds = [str(builder.config.get(key)) for key in ("model_type", "architecture")]
    is_vgg = any(kind.startswith("vgg") for kind in kinds)
    is_pooled = layer.kind != "linear" and "cnn" not in kinds
    act = activation(builder.config) or ("relu" if is_vgg else None)
    return builder.hidden(layer.name, act, without=(*without, *(NOT_POOLED if is_pooled else ())))


def _follows(before: tuple[int, ...], after: tuple[int, ...]) -> bool:
    if len(after) == 2 < len(before):
        return after[1] % before[0] == 0
    return len(after) == len(before) and after[1] == before[0]


def _in_order(layers: Sequence[Layer], couplings: Couplings) -> Iterator[Layer]:
    """Maps so that each stands behind the one whose units it reads, and all that stands beside them."""
    named = {layer.name: layer for layer in layers}
    beside = {
        name for found in couplings.of_writer.values() for name in (found.norm, found.later, *found.vectors)
    }
    done: set[str] = set()
    for layer in layers:
        line = [layer]
        while (found := couplings.of_reader.get(line[-1].name)) and found.writer not in done:
            if named[found.writer] in line:
                break
            line.append(named[found.writer])
        for each in reversed(line):
            if each.name not in done | beside and each.kind not in ("lora_a", "lora_b"):
                done.add(each.name)
                yield each


def _wire_recurrence(builder: WiringBuilder, states: Recurrence) -> str:
    """Wire a recurrent module; the state of its last layer, of which something is known where one layer reads it."""
    gates = next((gates for gates in ("ifgo", "rzn") if f"{states.at}hh_l0.{gates[0]}" in builder), "")
    source = builder.group(f"{states.at}input", kind=INDEPENDENT)
    return cells(builder, states.at, source, (PERMUTE,) if states.reader else (), gates)


def _wire_part(builder: WiringBuilder, layer: Layer, couplings: Couplings, read: str | None = None) -> None:
    """Wire a layer, which may ``read`` a group that is there, and what stands between it and its reader."""
    name, shape = layer.name, layer.shape
    found, above = couplings.of_writer.get(name), couplings.of_reader.get(name)
    out = _written(builder, layer, found) if found else builder.group(f"{name}.out", kind=INDEPENDENT)
    if len(shape) == 1:
        builder.vector(name, out)
        return
    width = shape[0 if name in couplings.turned else 1]
    own = builder.group(f"{name}.in", kind=INDEPENDENT if width > 1 else FIXED)
    norm = found.norm if found else None
    read = read or ((above.later or above.writer) if above else own)
    if name in couplings.turned:
        builder.turned(name, out, read, norm)
    else:
        builder.dense(name, out, read, norm)
    if found:
        for vector in found.vectors:
            builder.vector(vector, Axis(out, charge=0))
        if found.later:
            _normed_later(builder, found.later, out)


def _written(builder: WiringBuilder, layer: Layer, found: Coupling) -> str:
    return _hidden(builder, layer, _BUT_PERMUTE if found.vectors else ())

"""Networks whose file says how data flows in it: what passes from one layer to the next alone needs no guess."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from peace_pipeline.symmetry.wiring.activations import NOT_POOLED, actions_of
from peace_pipeline.symmetry.wiring.builder import WiringBuilder
from peace_pipeline.symmetry.wiring.linking import allowed
from peace_pipeline.symmetry.wiring.types import CHAIN, FIXED, INDEPENDENT, Group, Wiring, WiringMismatch
from peace_pipeline.weights.layers import Layer
from peace_pipeline.weights.tensors import Passage


def flow(layers: Sequence[Layer], config: Mapping[str, Any], passages: Sequence[Passage]) -> Wiring | None:
    """The wiring of a chain each of whose layers passes its units to the next; ``None`` where there are others."""
    order = _in_order([passage for passage in passages if passage.reader])
    turned = _turned(layers, order)
    maps = {layer.name for layer in layers if not layer.is_norm}
    if not order or {name for passage in order for name in (passage.writer, passage.reader)} != maps:
        return None
    builder = WiringBuilder(layers, config)
    source = "input"
    for passage in order:
        out = builder.group(passage.writer, *_actions(passage))
        (builder.turned if passage.writer in turned else builder.dense)(
            passage.writer, out, source, passage.norm
        )
        source = out
    last = order[-1].reader
    (builder.turned if last in turned else builder.dense)(last, "output", source)
    try:
        return builder.wiring(CHAIN)
    except WiringMismatch:
        return None


def parts(layers: Sequence[Layer], config: Mapping[str, Any], passages: Sequence[Passage]) -> Wiring | None:
    """The wiring of a network in which some layers pass their units to another alone, each other axis a group of its
    own; ``None`` where none does."""
    named = {layer.name: layer for layer in layers}
    known = [each for each in passages if each.writer in named and each.reader in named]
    of_writer = {passage.writer: passage for passage in known}
    of_reader = {passage.reader: passage for passage in known}
    turned = _turned(layers, known)
    norms = {passage.norm for passage in known}
    builder = WiringBuilder(layers, config)
    for name in _behind_writers([name for name in named if name not in norms], of_reader):
        passage, shape = of_writer.get(name), named[name].shape
        own = builder.group(f"{name}.out", kind=INDEPENDENT)
        out = builder.group(name, *_actions(passage)) if passage else own
        if len(shape) == 1:
            builder.vector(name, out)
            continue
        width = shape[0 if name in turned else 1]
        own = builder.group(f"{name}.in", kind=INDEPENDENT if width > 1 else FIXED)
        source = of_reader[name].writer if name in of_reader else own
        (builder.turned if name in turned else builder.dense)(
            name, out, source, passage.norm if passage else None
        )
    try:
        return builder.wiring(CHAIN) if known else None
    except WiringMismatch:
        return None


def _turned(layers: Iterable[Layer], passages: Iterable[Passage]) -> set[str]:
    """Transposed convolutions that are (in, out): a bias has told of others, which are (out, in) by now."""
    names = {name for passage in passages for name in passage.turned}
    told = {each.name for each in layers if "bias" in each.tensors and each.shape[:1] != each.shape[1:2]}
    return names - told


def confirmed(wiring: Wiring, passages: Sequence[Passage]) -> Wiring:
    """A wiring by names and shapes with what passages say of its groups; it assumes nothing where they say it
    all."""
    if not passages:
        return wiring
    norms = {passage.norm for passage in passages}
    groups, is_open, notes = dict(wiring.groups), False, list[str]()
    for group in wiring.groups.values():
        writers = _writers(wiring, group)
        readers = {wired.layer.name for wired in wiring.readers(group.name)}
        own = [each for each in passages if each.writer in writers]
        if passage := _of_group(wiring, group, passages):
            groups[group.name] = allowed(wiring, replace(group, actions=_actions(passage)))
        elif writers and readers and group.name not in norms:
            end = next((f"{each.writer}: {each.end}" for each in own if each.end), "")
            is_open |= not end
            if not (end or own or wiring.assumes):
                end = f"{writers[0]}: what becomes of them is not followed"
            if end or any(each.reader not in readers or each.turned for each in own):
                groups[group.name] = replace(group, actions=())
                notes += [f"by what is computed, nothing is claimed of the units of {end}"] if end else []
    assumes = wiring.assumes if is_open else ()
    return replace(wiring, groups=groups, assumes=assumes, notes=(*wiring.notes, *notes))


def _writers(wiring: Wiring, group: Group) -> list[str]:
    return [wired.layer.name for wired in wiring.writers(group.name)]


def _of_group(wiring: Wiring, group: Group, passages: Sequence[Passage]) -> Passage | None:
    """The passage that all is about that touches a group, on the axes that it is about."""
    touching = wiring.touching(group.name)
    ends = [*_writers(wiring, group), *(wired.layer.name for wired in wiring.readers(group.name))]
    found = next((each for each in passages if [each.writer, each.reader] == ends), None)
    if found is None or len(touching) != 2:
        return None
    turned = _turned([wired.layer for wired, _ in touching], [found])
    sides = [(axis is wired.out) != (axis.dim == 0) for wired, axis in touching]
    return found if sides == [wired.layer.name in turned for wired, _ in touching] else None


def _actions(passage: Passage) -> tuple[str, ...]:
    without = NOT_POOLED if passage.is_pooled else ()
    return tuple(action for action in actions_of(_activation(passage)) if action not in without)


def _behind_writers(names: Iterable[str], of_reader: Mapping[str, Passage]) -> list[str]:
    """Layers, each behind the one whose units it reads."""
    done: dict[str, None] = {}
    for name in names:
        line = [name]
        while (passage := of_reader.get(line[-1])) and passage.writer not in (*done, *line):
            line.append(passage.writer)
        done |= dict.fromkeys(reversed(line))
    return list(done)


def _in_order(passages: Sequence[Passage]) -> list[Passage]:
    """Passages one after the other, from where no other leads to; empty where there are several such places."""
    of_writer = {passage.writer: passage for passage in passages}
    first = of_writer.keys() - {passage.reader for passage in passages}
    found: list[Passage] = []
    name = first.pop() if len(first) == 1 else None
    while name in of_writer:
        found.append(of_writer[name])
        name = found[-1].reader
    return found


def _activation(passage: Passage) -> str:
    """The activation of a hidden layer; a name that says nothing where there are several."""
    if len(passage.activations) > 1:
        return "several"
    return passage.activations[0] if passage.activations else "linear"

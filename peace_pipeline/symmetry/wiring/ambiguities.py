"""In words, what names and shapes leave open: which layers could read, or write, the same units."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from peace_pipeline.symmetry.wiring.couplings import Couplings
from peace_pipeline.symmetry.wiring.recurrences import recurrence
from peace_pipeline.weights.layers import Layer

_MOST = 3
"""Of findings, and of names in each."""

_NARROW = 4
"""Fewer units are hardly hidden ones, but classes or colours."""
_CELL = re.compile(r"\.?(ih|hh|hr)(_l\d+\w*)?(\.\w)?$")
_ByWidth = dict[int, list[str]]


def left_open(layers: Iterable[Layer], couplings: Couplings) -> str:
    """Why units that some layer writes and another could read are not coupled; empty where nothing is open."""
    layers = list(layers)
    writers: _ByWidth = {}
    readers: _ByWidth = {}
    for layer in layers:
        if len(layer.shape) < 2 or not layer.has_weight or layer.kind in ("recurrent", "lora_a", "lora_b"):
            continue
        is_table = layer.kind == "embedding"
        if layer.name not in couplings.of_writer:
            writers.setdefault(layer.shape[1 if is_table else 0], []).append(layer.name)
        if layer.name not in couplings.of_reader and not is_table:
            readers.setdefault(layer.shape[1], []).append(layer.name)
    found = _several(writers, readers) + _recurrent(layers)
    if not found and not couplings.of_writer and writers:
        found = _one(writers, readers)
    more = [f"so it is of {len(found) - _MOST} more widths"] if len(found) > _MOST else []
    return "; ".join([*found[:_MOST], *more])


def _several(writers: _ByWidth, readers: _ByWidth) -> list[str]:
    """Widths that several layers write or read."""
    found = []
    for size, written in writers.items():
        read = readers.get(size, [])
        also = set(read)
        if both := [name for name in written if name in also]:
            has = "has" if len(both) == 1 else "have"
            place = " and may stand one after the other or side by side"
            if len({*written, *read}) == 1:
                place = ", which may be the network's"
            found.append(f"{_listed(both)} {has} {size} inputs and outputs{place}")
        elif len(read) > 1:
            found.append(f"{_listed(read)} could each read the {size} units of {_listed(written, 'or')}")
        elif read and len(written) > 1:
            found.append(f"{_listed(written)} could each write the {size} units that {read[0]} reads")
    return found


def _recurrent(layers: Sequence[Layer]) -> list[str]:
    if recurrence(layers):
        return []
    modules = dict.fromkeys(_CELL.sub("", layer.name) for layer in layers if layer.kind == "recurrent")
    return [
        f"what reads the states of {name} beside the next step is not certain" for name in modules if name
    ]


def _one(writers: _ByWidth, readers: _ByWidth) -> list[str]:
    """Widths that one layer writes and one reads, and those that are a multiple of what is written."""
    found = [
        f"{names[0]} may read the {size} units of {writers[size][0]}, or others"
        for size, names in readers.items()
        if size in writers
    ]
    for width, names in readers.items():
        sizes = [size for size in writers if width % size == 0 and size not in readers and size >= _NARROW]
        if sizes and width not in writers:
            size = max(sizes)
            found.append(
                f"the {width} inputs of {_listed(names)} may be {width // size} times the {size} units of "
                f"{_listed(writers[size], 'or')}, in which order is not known"
            )
    return found or ["no layer is seen to read as many units as another writes"]


def _listed(names: Sequence[str], last: str = "and") -> str:
    shown = [*names[:_MOST], f"{len(names) - _MOST} more"] if len(names) > _MOST else [*names]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} {last} {shown[-1]}"

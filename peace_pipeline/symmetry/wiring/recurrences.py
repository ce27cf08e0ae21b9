"""What names and shapes say of the states of a recurrent network whose config names no family."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from peace_pipeline.weights.layers import Layer

_CELL = re.compile(r"((?:.*\.)?)(ih|hh|hr)(_l(\d+)(?:_reverse)?)(?:\.[ifgorzn])?")


@dataclass(frozen=True)
class Recurrence:
    """One ``nn.LSTM``, ``nn.GRU`` or ``nn.RNN``: ``at`` stands before the names of its ``layers``, and ``reader`` is
    the layer that reads the states of its last one, where that is plain."""

    at: str
    layers: frozenset[str]
    reader: str | None


def recurrence(layers: Iterable[Layer]) -> Recurrence | None:
    """The recurrent part of a network, where it has one and nothing else may get hold of its states.

    Beside the next layer, a state may be read by whatever the module does with it: a layer may read those of all layers
    side by side, a decoder may begin with an encoder's, and the inputs may be added to those of the last layer. So
    there is none where another layer reads or writes as many units or a multiple, but for embeddings and what reads the
    states of the last layer; and these are only known where nothing else is as wide as they are.
    """
    named = {layer.name: layer for layer in layers}
    found = {name: match for name in named if (match := _CELL.fullmatch(name))}
    first = [name for name, match in found.items() if match[2] == "hh" and match[3] == "_l0"]
    starts = {match[1] for match in found.values()}
    if len(starts) != 1 or not first or len(named[first[0]].shape) != 2:
        return None
    at = starts.pop()
    depth = len({match[4] for match in found.values()})
    ways = 1 + any(match[3].endswith("_reverse") for match in found.values())
    size = named[first[0]].shape[1]
    inputs = named[first[0].replace(f"{at}hh", f"{at}ih", 1)].shape[1]
    several = {size * number for number in range(1, 2 * depth * ways + 1)}
    touching = [layer for name, layer in named.items() if name not in found and several & {*layer.shape[:2]}]
    readers = [layer for layer in touching if layer.kind == "linear" and layer.shape[1] == ways * size]
    writers = [layer for layer in readers if layer.shape[0] in several]
    others = [layer for layer in touching if layer not in readers and layer.kind != "embedding"]
    is_read = len(touching) == len(readers) == 1 and inputs != size
    if writers or others or not (is_read or depth > 1):
        return None
    return Recurrence(at, frozenset(found), readers[0].name if is_read else None)

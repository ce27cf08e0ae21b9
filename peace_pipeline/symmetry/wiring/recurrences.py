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
    side by side, a decoder may begin with an encoder's, and the inputs may be added to them. So there is none where
    another layer reads or writes a multiple of as many units, but for one that reads those of the last layer.
    """
    found = {layer.name: match for layer in layers if (match := _CELL.fullmatch(layer.name))}
    named = {layer.name: layer for layer in layers}
    first = [name for name, match in found.items() if match[2] == "hh" and match[3] == "_l0"]
    starts = {match[1] for match in found.values()}
    if len(starts) != 1 or not first:
        return None
    at = starts.pop()
    depth = len({match[4] for match in found.values()})
    ways = 1 + any(match[3].endswith("_reverse") for match in found.values())
    size = named[first[0]].shape[1]
    inputs = named[first[0].replace(f"{at}hh", f"{at}ih", 1)].shape[1]
    others = [layer for layer in named.values() if layer.name not in found]
    touching = [layer for layer in others if any(_is_multiple(width, size) for width in layer.shape[:2])]
    is_read = len(touching) == 1 and touching[0].kind == "linear" and touching[0].shape[1] == ways * size
    is_alone = not touching or (is_read and not _is_multiple(touching[0].shape[0], size))
    if inputs == size or not is_alone or (depth == 1 and not is_read):
        return None
    return Recurrence(at, frozenset(found), touching[0].name if is_read else None)


def _is_multiple(width: int, size: int) -> bool:
    return width >= size and width % size == 0

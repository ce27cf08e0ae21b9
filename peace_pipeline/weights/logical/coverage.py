"""Which bytes of a checkpoint become layers, which are buffers that are known as such or averages over training of the
others, and which nobody reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass

from peace_pipeline.weights.byte_budget import bytes_of
from peace_pipeline.weights.errors import UnsupportedFormat
from peace_pipeline.weights.logical.names import averages_of, is_buffer
from peace_pipeline.weights.tensors import TensorInfo
from peace_pipeline.weights.views import Views

_ALLOWED = 0.005
"""Share of values, and of bytes, that may be weights which nobody reads."""
_SHOWN = 3


@dataclass(frozen=True)
class Coverage:
    """Bytes of a checkpoint by what became of them: ``layers``, known ``buffers``, ``averages`` over training (and
    other copies) that are left out, and what is ``unread``; ``names`` of the unread tensors that may be weights, the
    largest first, and their ``share`` of all values or bytes."""

    layers: int
    buffers: int
    averages: int
    unread: int
    names: tuple[str, ...] = ()
    share: float = 0.0

    @property
    def shares(self) -> dict[str, float]:
        """The four as shares of all bytes."""
        parts = {
            "layers": self.layers,
            "buffers": self.buffers,
            "averages": self.averages,
            "unread": self.unread,
        }
        total = max(sum(parts.values()), 1)
        return {part: size / total for part, size in parts.items()}

    def check(self) -> None:
        """Raises:
        UnsupportedFormat: where more is unread than a network can do without.
        """
        if self.share > _ALLOWED:
            more = f" and {len(self.names) - _SHOWN} more" if len(self.names) > _SHOWN else ""
            raise UnsupportedFormat(
                f"{self.share:.1%} of its weights are packed or of a type that is not read: "
                + ", ".join(name[:100] for name in self.names[:_SHOWN])
                + more
            )


def coverage_of(
    tensors: Mapping[str, TensorInfo], views: Views, tables: Set[str] = frozenset(), copies: int = 0
) -> Coverage:
    """What the logical tensors of ``views`` make of the stored ``tensors``, of which ``tables`` are buffers and beside
    which there are ``copies``, in bytes."""
    shown = {source for view in views.values() for source in view.sources}
    read = {
        source
        for view in views.values()
        if view.info.is_floating and view.info.shape and 0 not in view.info.shape
        for source in view.sources
    }
    known_averages = averages_of([*tensors.values()])
    layers, buffers, averages, unread = [], [], [], []
    for name, info in tensors.items():
        if name in read:
            layers.append(info)
        elif name in known_averages:
            averages.append(info)
        elif name in tables or _is_known(info, is_shown=name in shown):
            buffers.append(info)
        else:
            unread.append(info)
    weights = sorted((info for info in unread if info.size > 1), key=bytes_of, reverse=True)
    shares = (
        _size(weights) / max(_size(tensors.values()), 1),
        _bytes(weights) / max(_bytes(tensors.values()), 1),
    )
    names = tuple(f"{info.name!r} ({info.dtype})" for info in weights)
    return Coverage(
        _bytes(layers), _bytes(buffers), _bytes(averages) + copies, _bytes(unread), names, max(shares)
    )


def joined_coverage(members: Mapping[str, Coverage]) -> Coverage:
    """What became of the bytes of all members of a whole, given by their prefixes."""
    found = [*members.values()]
    return Coverage(
        sum(one.layers for one in found),
        sum(one.buffers for one in found),
        sum(one.averages for one in found),
        sum(one.unread for one in found),
        tuple(f"{prefix}{name}" for prefix, one in members.items() for name in one.names),
        max((one.share for one in found), default=0.0),
    )


def _is_known(info: TensorInfo, *, is_shown: bool) -> bool:
    """Whether a tensor that no layer has is a buffer: by its name, its type, or as something else was had from it."""
    if is_buffer(info.name, info) or info.note or not is_shown:
        return True
    return info.dtype == "bool"


def _size(infos: Iterable[TensorInfo]) -> int:
    return sum(info.size for info in infos)


def _bytes(infos: Iterable[TensorInfo]) -> int:
    return sum(map(bytes_of, infos))

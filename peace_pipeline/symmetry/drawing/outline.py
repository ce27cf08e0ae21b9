"""A wiring drawn: groups as nodes, layers as edges between them in data-flow order, repeated blocks once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from peace_pipeline.symmetry.wiring.symmetries import (
    FLIP,
    FREE,
    GAIN,
    LINEAR,
    MIX,
    NORMALISED,
    ORTHOGONAL,
    PERMUTE,
    ROTATE,
    SCALE,
    SHIFT,
    SHUFFLE,
    SIGN,
)
from peace_pipeline.symmetry.wiring.types import PERMUTABLE, Group, WiredLayer, Wiring

MEANINGS = {
    PERMUTE: "its units may stand in any order",
    SHUFFLE: "the entries of each unit may stand in any order",
    SCALE: "each entry may have a positive factor",
    SIGN: "each entry may have a sign",
    FLIP: "each entry of a sigmoid may have a sign; the readers' biases make up for it",
    MIX: "each unit's entries may be mixed by an invertible map",
    ROTATE: "pairs of entries may be turned and scaled, as rotary positions do",
    LINEAR: "all entries may be mixed by an invertible map",
    ORTHOGONAL: "all entries may be mixed by an orthogonal map, with the norms' gains absorbed",
    NORMALISED: "each unit may have a positive factor, which a norm takes away",
    GAIN: "each entry of the gain may have a factor that the layers beside it make up for",
    SHIFT: "each entry may be moved by a constant that the readers' biases make up for",
    FREE: "each entry of the bias may be moved: softmax does not see it",
}
"""Action → what it says of a group."""
_MOST_PARTS = 3


@dataclass(frozen=True)
class Node:
    """A group; ``again`` where it was drawn before."""

    group: Group
    again: bool = False


@dataclass(frozen=True)
class Block:
    """Equal parts of a network, of which the first is drawn. Its layers' names begin with ``prefix``; ``names`` shows
    those of all parts. ``alike`` is group of another part → the first part's in its place."""

    prefix: str
    names: str
    times: int
    steps: tuple[Step, ...]
    alike: dict[str, str]


Step = Node | WiredLayer | Block


def steps(wiring: Wiring) -> tuple[Step, ...]:
    """The drawing of a wiring from its inputs to its outputs. Each group stands before the layers that touch it, and
    again before those that write it later."""
    return tuple(_with_nodes(_collapsed(wiring.layers, wiring), _Pen(wiring)))


class _Pen:
    """Knows which groups were drawn."""

    def __init__(self, wiring: Wiring) -> None:
        self._groups = wiring.groups
        self._drawn: set[str] = set()
        self._latest: str | None = None

    def before(self, wired: WiredLayer) -> Iterator[Node]:
        """The groups to draw before a layer: new ones, what it reads first; then what it writes."""
        for axis in reversed(wired.axes):
            yield from self._new(axis.group)
        if self._latest != wired.out.group:
            self._latest = wired.out.group
            yield Node(self._groups[wired.out.group], again=True)

    def leave_out(self, names: Iterable[str]) -> None:
        """Take groups for drawn."""
        self._drawn |= {*names}

    def _new(self, name: str) -> Iterator[Node]:
        group = self._groups[name]
        if name not in self._drawn:
            self._drawn.add(name)
            for other in group.bases:
                yield from self._new(other)
            self._latest = name
            yield Node(group)


def _with_nodes(items: Iterable[WiredLayer | Block], pen: _Pen) -> Iterator[Step]:
    for item in items:
        if isinstance(item, Block):
            yield replace(item, steps=tuple(_with_nodes(item.steps, pen)))  # type: ignore[arg-type]
            pen.leave_out(item.alike)
        else:
            yield from pen.before(item)
            yield item


def _collapsed(layers: Sequence[WiredLayer], wiring: Wiring) -> Iterator[WiredLayer | Block]:
    """Layers, and blocks in the place of several equal runs of layers whose names differ in one number."""
    keys = [_key(wired, wiring) for wired in layers]
    start = 0
    while start < len(layers):
        period, times = _repeated(layers, keys, start)
        if times > 1:
            runs = [layers[at : at + period] for at in range(start, start + period * times, period)]
            yield _block(runs, wiring)
        else:
            yield layers[start]
        start += period * times


def _repeated(layers: Sequence[WiredLayer], keys: Sequence[object], start: int) -> tuple[int, int]:
    """How many layers from ``start`` on are repeated, and how many times they stand there, for the most layers."""
    best = (1, 1)
    for period in range(1, (len(keys) - start) // 2 + 1):
        if keys[start] != keys[start + period] or not _is_part(layers, start, period):
            continue
        run, times = keys[start : start + period], 1
        while keys[start + times * period : start + (times + 1) * period] == run:
            times += 1
        if times > 1 and times * period > best[0] * best[1]:
            best = period, times
    return best


def _is_part(layers: Sequence[WiredLayer], start: int, period: int) -> bool:
    """Whether a run of layers is all of one part: the number that the next run's names differ in is the same."""
    prefix = _prefix(layers[start], layers[start + period])
    run = [f"{wired.layer.name}." for wired in layers[start : start + period]]
    return all(name.startswith(prefix) for name in run)


def _prefix(first: WiredLayer, other: WiredLayer) -> str:
    """The first layer's name up to where another's differs from it, and a dot."""
    components = first.layer.name.split(".")
    others = other.layer.name.split(".")
    same = next(place for place, pair in enumerate(zip(components, others, strict=True)) if len({*pair}) > 1)
    return ".".join(components[: same + 1]) + "."


def _block(runs: Sequence[Sequence[WiredLayer]], wiring: Wiring) -> Block:
    first, second, last = runs[0][0], runs[1][0], runs[-1][0]
    prefix = _prefix(first, second)
    above, _, number = prefix[:-1].rpartition(".")
    names = f"{above}{'.' if above else ''}{{{number}…{_prefix(last, first)[:-1].rpartition('.')[2]}}}"
    alike = {
        other.group: axis.group
        for run in runs[1:]
        for wired, mine in zip(run, runs[0], strict=True)
        for other, axis in zip(wired.axes, mine.axes, strict=True)
        if other.group != axis.group
    }
    kept = {axis.group for wired in runs[0] for axis in wired.axes}
    alike = {name: mine for name, mine in alike.items() if name not in kept}
    return Block(prefix, names, len(runs), tuple(_collapsed(runs[0], wiring)), alike)


def _key(wired: WiredLayer, wiring: Wiring) -> object:
    """Equal for layers that do the same in their parts of the network."""
    axes = [
        (
            replace(axis, group=""),
            _unnumbered(axis.group),
            replace(wiring.groups[axis.group], name="", along="", parts=()),
        )
        for axis in wired.axes
    ]
    beside = [bool(layer) for layer in (wired.norm, wired.before)]
    return _unnumbered(wired.layer.name), wired.layer.kind, wired.layer.shape, axes, beside


def _unnumbered(name: str) -> tuple[str, ...]:
    return tuple("#" if component.isdigit() else component for component in name.split("."))


def short(name: str, prefix: str) -> str:
    """A name within a block."""
    return name.removeprefix(prefix) or name


def size(group: Group) -> str:
    """``32 × 64`` for 32 units of 64 entries."""
    return f"{group.size} × {group.width}" if group.width > 1 else str(group.size)


def nature(group: Group, prefix: str = "") -> str:
    """What may be done to a group (else why nothing may), and what it moves with."""
    said = [", ".join(group.actions) or ("" if group.kind == PERMUTABLE else group.kind)]
    said += [f"{group.size // group.bundle} bundles of {group.bundle}"] if group.bundle > 1 else []
    said += [f"along {short(group.along, prefix)}"] if group.along else []
    parts = [short(part, prefix) for part in group.parts]
    said += (
        [" + ".join(parts) if len(parts) <= _MOST_PARTS else f"{len(parts)} groups in one"] if parts else []
    )
    return "; ".join(filter(None, said))


def remarks(wired: WiredLayer) -> str:
    """What else there is to say of a layer."""
    said = ["a channel each"] if wired.is_diagonal else []
    said += ["moves along"] if not wired.out.charge else []
    said += [f"then {_beside(wired.norm.name, wired.layer.name)}"] if wired.norm else []
    return "; ".join(said)


def _beside(name: str, other: str) -> str:
    """A name without what another one begins with."""
    parent = other.rpartition(".")[0]
    above, _, last = name.rpartition(".")
    same = above.rpartition(".")[0] if last.isdigit() else parent
    return short(name, f"{same}." if parent.startswith(same) else "")


def shape(wired: WiredLayer) -> str:
    """``64×3×7×7``."""
    return "×".join(map(str, wired.layer.shape))


def lines(drawn: Iterable[Step], prefix: str = "", margin: str = "") -> Iterator[tuple[str, str]]:
    """A drawing as lines of text in two columns: ● a group (○ again), below it the layers that write it and what they
    read; repeated blocks in a frame, names in them without what all begin with."""
    for step in drawn:
        if isinstance(step, Block):
            yield f"{margin}┌ {short(step.names, prefix)}", f"{step.times} times"
            yield from lines(step.steps, step.prefix, f"{margin}│ ")
            yield f"{margin}└", ""
        elif isinstance(step, Node):
            name = short(step.group.name, prefix)
            said = "" if step.again else f"{size(step.group)}  {nature(step.group, prefix)}"
            yield f"{margin}{'○' if step.again else '●'} {name}", said.rstrip()
        else:
            reads = f" ← {short(step.into.group, prefix)}" if step.into else ""
            yield (
                f"{margin}  {short(step.layer.name, prefix)}{reads}",
                f"{shape(step)}  {remarks(step)}".rstrip(),
            )

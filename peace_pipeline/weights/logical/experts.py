"""Experts of a mixture (Shazeer et al. 2017), a tensor each or all in one → one matrix for all of them a layer.

The hidden units of all experts are those of one wide layer, expert by expert: what goes in is (experts · hidden, in),
what comes out (out, experts · hidden).
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass, replace

import torch

from peace_pipeline.weights.checkpoint import Checkpoint
from peace_pipeline.weights.tensors import TensorInfo
from peace_pipeline.weights.views import Rows, View, Views, finished, taken

_ROLES = {
    "gate_proj": "gate_proj", "up_proj": "up_proj", "down_proj": "down_proj",
    "w1": "gate_proj", "w3": "up_proj", "w2": "down_proj",
}  # fmt: skip
"""What a layer of an expert is called → its role; Mixtral numbers them."""
_APART = re.compile(rf"(?P<at>(?:.*\.)?experts)\.(?P<expert>\d+)\.(?P<role>{'|'.join(_ROLES)})\.weight")
_TOGETHER = re.compile(
    r"(?P<at>(?:.*\.)?experts)\.(?P<role>gate_up_proj|gate_proj|up_proj|down_proj)(?:\.weight)?"
)


@dataclass(frozen=True)
class Rearranged:
    """A tensor with its axes in another ``order`` and then in another shape."""

    info: TensorInfo
    of: View
    order: tuple[int, ...]

    def read(self, checkpoint: Checkpoint, dtype: torch.dtype | None) -> torch.Tensor:
        """See :class:`View`."""
        return self._of(self.of.read(checkpoint, dtype))

    @property
    def sources(self) -> tuple[str, ...]:
        """See :class:`View`."""
        return self.of.sources

    def get(self, stored: torch.Tensor) -> torch.Tensor:
        """See :class:`View`."""
        return self._of(self.of.get(stored))

    def put(self, stored: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        """See :class:`View`."""
        shape = [self.of.info.shape[axis] for axis in self.order]
        back = [self.order.index(axis) for axis in range(len(self.order))]
        return self.of.put(stored, new.reshape(shape).permute(back))

    def _of(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.permute(self.order).reshape(self.info.shape)


@dataclass(frozen=True)
class Joined:
    """Tensors one after the other along an axis."""

    info: TensorInfo
    of: tuple[View, ...]
    axis: int

    def read(self, checkpoint: Checkpoint, dtype: torch.dtype | None) -> torch.Tensor:
        """See :class:`View`."""
        return finished(
            self.info, torch.cat([view.read(checkpoint, dtype) for view in self.of], self.axis), dtype
        )

    @property
    def sources(self) -> tuple[str, ...]:
        """See :class:`View`."""
        return tuple(source for view in self.of for source in view.sources)

    def get(self, stored: torch.Tensor) -> torch.Tensor:
        """See :class:`View`.

        Raises:
            ValueError: always: no stored tensor has all of it.
        """
        raise ValueError(f"{self.info.name} is had from {len(self.of)} tensors")

    def put(self, stored: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        """See :class:`View`.

        Raises:
            ValueError: always: no stored tensor has all of it; see :meth:`within`.
        """
        raise ValueError(f"{self.info.name} is had from {len(self.of)} tensors")

    def within(self, source: str) -> Within:
        """What a stored tensor has of it."""
        place = self.sources.index(source)
        start = sum(view.info.shape[self.axis] for view in self.of[:place])
        return Within(self.of[place].info, self.of[place], self.axis, start)


@dataclass(frozen=True)
class Within:
    """What one stored tensor has of a joined one."""

    info: TensorInfo
    of: View
    axis: int
    start: int

    def put(self, stored: torch.Tensor, new: torch.Tensor) -> torch.Tensor:
        """The stored tensor for a new value of the joined one."""
        own = new.narrow(self.axis, self.start, self.info.shape[self.axis])
        return self.of.put(stored, own)


def with_experts(views: Views) -> Views:
    """Views in which the experts of a mixture are one layer; where their shapes don't fit they stay as they are."""
    result = _together(views)
    apart: dict[tuple[str, str], dict[int, str]] = defaultdict(dict)
    for name in views:
        if match := _APART.fullmatch(name):
            apart[match["at"], _ROLES[match["role"]]][int(match["expert"])] = name
    replaced: dict[str, tuple[str, Joined]] = {}
    for (at, role), names in apart.items():
        name = f"{at}.{role}.weight"
        if sorted(names) == list(range(len(names))) and name not in result:
            joined = _joined(
                [views[names[expert]] for expert in range(len(names))], axis=1 if role == "down_proj" else 0
            )
            if joined:
                replaced |= {own: (name, joined) for own in names.values()}
    return {
        (replaced[name][0] if name in replaced else name): (replaced[name][1] if name in replaced else view)
        for name, view in result.items()
    }


def _joined(views: list[View], axis: int) -> Joined | None:
    shape = views[0].info.shape
    if len(shape) != 2 or any(
        view.info.shape != shape or view.info.part or len(view.sources) > 1 for view in views
    ):
        return None
    size = list(shape)
    size[axis] *= len(views)
    return Joined(replace(views[0].info, shape=tuple(size)), tuple(views), axis)


def _together(views: Views) -> Views:
    """Views with three matrices in place of tensors (experts, …) that hold all experts."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for name, view in views.items():
        match = _TOGETHER.fullmatch(name)
        if match and len(view.info.shape) == 3 and view.info.part is None:
            found[match["at"]][match["role"]] = name
    replaced: dict[str, Views] = {}
    for at, names in found.items():
        if (down := names.get("down_proj")) and (parts := _parts(views, at, names, views[down].info.shape)):
            replaced |= parts
    result: Views = {}
    for name, view in views.items():
        result |= replaced.get(name, {name: view})
    return result


def _parts(views: Views, at: str, names: dict[str, str], down: tuple[int, ...]) -> dict[str, Views] | None:
    """Name of a tensor → what it becomes. Matrices are (out, in), or all (in, out), gates and units in turn then."""
    ups = {role: views[name] for role, name in names.items() if role != "down_proj"}
    halves = 2 if "gate_up_proj" in ups else 1
    experts = down[0]
    if not ups or 0 in down or ("gate_up_proj" in ups) == (len(ups) > 1):
        return None
    for is_turned in (False, True):
        outputs, hidden = down[1:] if not is_turned else down[:0:-1]
        shape = (experts, halves * hidden, outputs)
        if all(
            view.info.shape == ((shape[0], shape[2], shape[1]) if is_turned else shape)
            for view in ups.values()
        ):
            break
    else:
        return None
    order = (0, 2, 1) if is_turned else (0, 1, 2)
    result: dict[str, Views] = {}
    for role, view in ups.items():
        flat = Rearranged(replace(view.info, shape=(experts * halves * hidden, outputs)), view, order)
        if halves == 1:
            result[names[role]] = {f"{at}.{role}.weight": flat}
            continue
        own = _halves(flat, experts, hidden, in_turn=is_turned)
        result[names[role]] = {f"{at}.{half}.weight": piece for half, piece in own.items()}
        bias = views.get(f"{at}.gate_up_proj_bias")
        if bias is not None and bias.info.shape == (experts, 2 * hidden):
            flat = Rearranged(replace(bias.info, shape=(experts * 2 * hidden,)), bias, (0, 1))
            own = _halves(flat, experts, hidden, in_turn=is_turned)
            result[f"{at}.gate_up_proj_bias"] = {f"{at}.{half}.bias": piece for half, piece in own.items()}
    view = views[names["down_proj"]]
    last = Rearranged(
        replace(view.info, shape=(outputs, experts * hidden)), view, (2, 0, 1) if is_turned else (1, 0, 2)
    )
    return result | {names["down_proj"]: {f"{at}.down_proj.weight": last}}


def _halves(flat: View, experts: int, hidden: int, *, in_turn: bool) -> Views:
    """The rows of gates and of units: those of each expert one after the other, or in turn."""
    count, width = (experts * hidden, 1) if in_turn else (experts, hidden)
    rows = {"gate_proj": Rows(0, width, 2 * width, count), "up_proj": Rows(width, width, 2 * width, count)}
    found = {half: taken(flat, own) for half, own in rows.items()}
    return {half: view for half, view in found.items() if view is not None}

"""Tensor names and shapes → layers: which tensors belong together, and what kind of layer they make."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from natsort import natsorted

from peace_pipeline.weights.kinds import Draft, kinds_of
from peace_pipeline.weights.tensors import TensorInfo

_ROLES = {
    "weight": "weight",
    "bias": "bias",
    "running_mean": "mean",
    "running_var": "var",
    "gamma": "weight",
    "beta": "bias",
}
_OF_NORMS = {"weight": "gain", "bias": "shift"}
_ROOT = "."
"""The name of the layer whose tensors stand at the root (``weight``, ``bias``)."""

_Roles = dict[str, TensorInfo]


@dataclass(frozen=True)
class Layer:
    """Parameters that act as one map. ``tensors`` is role → tensor name.

    Roles are ``weight`` (out, in, *kernel), ``bias`` (out), and for norms ``gain``, ``shift``, ``mean``,
    ``var`` (out). ``shape`` is the shape of the weight or gain; ``eps`` a norm's epsilon where the file gives it.

    ``kind`` is ``linear``, ``conv1d`` to ``conv3d``, ``depthwise``, ``grouped``, ``embedding``, ``attention_q``,
    ``_k``, ``_v``, ``_o`` or ``_qkv`` (still fused), ``recurrent`` (one gate's matrix), ``norm`` (which learned
    scales are too), ``lora_a``, ``lora_b`` or ``tensor`` (anything else, such as a bias without its weight).
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    tensors: dict[str, str]
    eps: float | None = None

    @property
    def is_norm(self) -> bool:
        return self.kind == "norm"

    @property
    def has_weight(self) -> bool:
        """Whether its main tensor is a module's weight, and no parameter that stands alone."""
        return self.name not in self.tensors.values()


def layers_of(tensors: Iterable[TensorInfo]) -> list[Layer]:
    """Group floating-point tensors into layers, in natural order of their names.

    A tensor that is no ``weight`` or ``bias`` of a layer (a class token, a table of positions) is a layer of its
    own. Integer tensors, empty tensors and scalars are no layers.
    """
    drafts = [draft for name, roles in _groups(tensors).items() for draft in _drafts(name, roles)]
    kinds = kinds_of(draft for draft, _ in drafts)
    return [_layer(draft, kind, roles) for (draft, roles), kind in zip(drafts, kinds, strict=True)]


def _groups(tensors: Iterable[TensorInfo]) -> dict[str, _Roles]:
    """Tensors by the name of their layer and their role in it."""
    groups: dict[str, _Roles] = {}
    floating = [info for info in tensors if info.is_floating and info.shape and 0 not in info.shape]
    names = {info.name for info in floating}
    for info in natsorted(floating, key=lambda info: info.name):
        prefix, _, last = info.name.rpartition(".")
        role, prefix = _ROLES.get(last), prefix or _ROOT
        if role is None or prefix in names or role in groups.get(prefix, {}):
            groups[info.name] = {"weight": info}
        else:
            groups.setdefault(prefix, {})[role] = info
    return groups


def _drafts(name: str, roles: _Roles) -> Iterator[tuple[Draft, _Roles]]:
    """A layer and its tensors, the main one first; then tensors that don't fit it, each a layer of its own."""
    main = next(role for role in ("weight", "bias", *roles) if role in roles)
    shape = roles[main].shape
    own = {main: roles[main]} | {
        role: info
        for role, info in roles.items()
        if role != main and info.shape == shape[:1] and (len(shape) == 1 or role == "bias")
    }
    yield Draft(name, roles[main].name, shape, len(own) == 1), own
    for role, info in roles.items():
        if role not in own:
            yield Draft(info.name, info.name, info.shape, True), {role: info}


def _layer(draft: Draft, kind: str, roles: _Roles) -> Layer:
    if kind == "norm":
        own = {_OF_NORMS.get(role, role): info.name for role, info in roles.items()}
        return Layer(draft.name, kind, draft.shape, own, _epsilon(roles))
    _, *others = roles
    own = {"weight": draft.tensor} | {role: roles[role].name for role in others}
    return Layer(draft.name, kind, draft.shape, own)


def _epsilon(roles: _Roles) -> float | None:
    given = (roles[role].eps for role in ("var", "weight") if role in roles)
    return next((eps for eps in given if eps is not None and math.isfinite(eps) and eps >= 0), None)

"""Tensor names and shapes → layers: which tensors belong together, and what kind of layer they make."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from peace_pipeline.weights.checkpoint import TensorInfo
from peace_pipeline.zoo.record import natural

_ROLES = {
    "weight": "weight",
    "bias": "bias",
    "running_mean": "mean",
    "running_var": "var",
    "gamma": "weight",
    "beta": "bias",
}
_CONVOLUTIONS = {3: "conv1d", 4: "conv2d", 5: "conv3d"}


@dataclass(frozen=True)
class Layer:
    """Parameters that act as one map. ``tensors`` is role → tensor name.

    Roles are ``weight`` (out, in, *kernel), ``bias`` (out), and for norms ``gain``, ``shift``, ``mean``,
    ``var`` (out). ``shape`` is the shape of the weight or gain.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    tensors: dict[str, str]

    @property
    def is_norm(self) -> bool:
        return self.kind == "norm"


def layers_of(tensors: Iterable[TensorInfo]) -> list[Layer]:
    """Group floating-point tensors into layers, in natural order of their names.

    A tensor that is no ``weight`` or ``bias`` of a layer (a class token, a fused projection) is a layer of its
    own. Integer tensors, empty tensors and scalars are no layers.
    """
    groups: dict[str, dict[str, TensorInfo]] = {}
    for info in sorted(tensors, key=lambda info: natural(info.name)):
        if "float" not in info.dtype or not info.shape or 0 in info.shape:
            continue
        prefix, _, last = info.name.rpartition(".")
        role = _ROLES.get(last)
        if role is None:
            groups[info.name] = {"weight": info}
        else:
            groups.setdefault(prefix, {})[role] = info
    layers: list[Layer] = []
    for prefix, roles in groups.items():
        layers += _layers(prefix, roles, {layer.shape[0] for layer in layers})
    return layers


def _layers(prefix: str, roles: dict[str, TensorInfo], widths: set[int]) -> list[Layer]:
    weight = roles.get("weight") or roles.get("bias") or next(iter(roles.values()))
    if len(weight.shape) == 1:
        names = {"weight": "gain", "bias": "shift"}
        tensors = {names.get(role, role): info.name for role, info in roles.items()}
        return [Layer(prefix, "norm", weight.shape, tensors)]
    same = {role: info.name for role, info in roles.items() if info is weight or _fits(info, weight)}
    rest = [
        Layer(info.name, "norm", info.shape, {"gain": info.name})
        for role, info in roles.items()
        if role not in same
    ]
    return [Layer(prefix, _kind(prefix, weight.shape, widths), weight.shape, same), *rest]


def _fits(info: TensorInfo, weight: TensorInfo) -> bool:
    return info.shape == weight.shape[:1]


def _kind(name: str, shape: tuple[int, ...], widths: set[int]) -> str:
    """The kind of a layer; one input channel makes a convolution depthwise where an earlier layer has its width."""
    if len(shape) == 2:
        return "embedding" if re.search(r"embed(?!der)|wte|wpe", name) else "linear"
    if len(shape) > 2 and shape[1] == 1 and shape[0] in widths:
        return "depthwise"
    return _CONVOLUTIONS.get(len(shape), "tensor")

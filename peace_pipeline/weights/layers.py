"""Tensor names and shapes → layers: which tensors belong together, and what kind of layer they make."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from peace_pipeline.weights.tensors import TensorInfo
from peace_pipeline.zoo.record import natural

_ROLES = {
    "weight": "weight",
    "bias": "bias",
    "running_mean": "mean",
    "running_var": "var",
    "gamma": "weight",
    "beta": "bias",
}
_ROOT = "."
"""The name of the layer whose tensors stand at the root (``weight``, ``bias``)."""

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
        role, prefix = _ROLES.get(last), prefix or _ROOT
        if role is None or role in groups.get(prefix, {}):
            groups[info.name] = {"weight": info}
        else:
            groups.setdefault(prefix, {})[role] = info
    layers: list[Layer] = []
    for prefix, roles in groups.items():
        layers += _layers(prefix, roles, {layer.shape[0] for layer in layers if not layer.is_norm})
    return layers


def _layers(prefix: str, roles: dict[str, TensorInfo], widths: set[int]) -> list[Layer]:
    main = "weight" if "weight" in roles else "bias" if "bias" in roles else next(iter(roles))
    shape = roles[main].shape
    is_norm = len(shape) == 1
    own, rest = {}, []
    for role, info in roles.items():
        if role == main and not is_norm:
            own["weight"] = info.name
        elif role == main or (info.shape == shape[:1] and (is_norm or role == "bias")):
            own[role] = info.name
        else:
            rest += _layers(info.name, {role: info}, widths)
    if is_norm:
        names = {"weight": "gain", "bias": "shift"}
        own = {names.get(role, role): name for role, name in own.items()}
    return [Layer(prefix, "norm" if is_norm else _kind(prefix, shape, widths), shape, own), *rest]


def _kind(name: str, shape: tuple[int, ...], widths: set[int]) -> str:
    """The kind of a layer; one input channel makes a convolution depthwise where an earlier layer has its width."""
    if len(shape) == 2:
        return "embedding" if re.search(r"embed(?!der)|wte|wpe", name) else "linear"
    if len(shape) > 2 and shape[1] == 1 and shape[0] in widths:
        return "depthwise"
    return _CONVOLUTIONS.get(len(shape), "tensor")

"""Weights that PyTorch computes from other parameters: weight norm, spectral norm and pruning."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import torch

from peace_pipeline.weights.checkpoint import Checkpoint
from peace_pipeline.weights.tensors import TensorInfo
from peace_pipeline.weights.views import Computed, View, Views, finished, precision

_FORMS = (
    (re.compile(r"((?:.*\.)?weight(?:_[ih]h_l\d+(?:_reverse)?)?)_g"), ("{}_g", "{}_v")),
    (re.compile(r"((?:.*\.)?weight)_orig"), ("{}_orig", "{}_u", "{}_v")),
    (re.compile(r"((?:.*\.)?(?:weight|bias))_orig"), ("{}_orig", "{}_mask")),
    (re.compile(r"(.*\bparametrizations\.\w+)\.original0"), ("{}.original0", "{}.original1")),
    (re.compile(r"(.*\bparametrizations\.\w+)\.original"), ("{}.original", "{}.0._u", "{}.0._v")),
)
"""The first tensor's name, and the names of all: two for weight norm (g, v) and for pruning (W, mask), three for
spectral norm (W, u, v)."""

_LISTED_APART = re.compile(r"\bparametrizations\.(\w+)$")
"""``conv.parametrizations.weight`` stands for ``conv.weight``."""


@dataclass(frozen=True)
class WeightNormed(Computed):
    """g · v / ‖v‖, the norm over the axes along which g has one value (Salimans and Kingma 2016, eq. 2)."""

    info: TensorInfo
    gain: View
    direction: View

    @property
    def parts(self) -> tuple[View, ...]:
        """See :class:`Computed`."""
        return self.gain, self.direction

    def read(self, checkpoint: Checkpoint, dtype: torch.dtype | None) -> torch.Tensor:
        """See :class:`View`."""
        gain, direction = (view.read(checkpoint, precision(dtype)) for view in self.parts)
        if self.info.part:
            gain = gain[self.info.part.index]
        axes = [axis for axis, size in enumerate(gain.shape) if size == 1] or list(range(direction.dim()))
        norm = torch.linalg.vector_norm(direction, dim=axes, keepdim=True)
        return finished(self.info, direction * (gain / norm), dtype)


@dataclass(frozen=True)
class SpectralNormed(Computed):
    """W / (uᵀ W v), W flattened to a matrix of rows along ``axis`` (Miyato et al. 2018, algorithm 1)."""

    info: TensorInfo
    original: View
    left: View
    right: View
    axis: int

    @property
    def parts(self) -> tuple[View, ...]:
        """See :class:`Computed`."""
        return self.original, self.left, self.right

    def read(self, checkpoint: Checkpoint, dtype: torch.dtype | None) -> torch.Tensor:
        """See :class:`View`."""
        original, left, right = (view.read(checkpoint, precision(dtype)) for view in self.parts)
        size = left @ original.movedim(self.axis, 0).flatten(1) @ right
        return finished(self.info, original / size, dtype)


@dataclass(frozen=True)
class Pruned(Computed):
    """W · mask (``torch.nn.utils.prune``)."""

    info: TensorInfo
    original: View
    mask: View

    @property
    def parts(self) -> tuple[View, ...]:
        """See :class:`Computed`."""
        return self.original, self.mask

    def read(self, checkpoint: Checkpoint, dtype: torch.dtype | None) -> torch.Tensor:
        """See :class:`View`."""
        original, mask = (view.read(checkpoint, precision(dtype)) for view in self.parts)
        return finished(self.info, original * mask, dtype)


def computed(views: Views) -> Views:
    """Views with one weight in place of what it is computed from, where as much of that is had as it takes."""
    result = dict(views)
    for name in views:
        for pattern, names in _FORMS if name.endswith(("_g", "_orig", ".original0", ".original")) else ():
            match = pattern.fullmatch(name)
            used = [form.format(match[1]) for form in names] if match else []
            parts = [result[own] for own in used if own in result]
            weight = _pruned(parts) if names[-1].endswith("_mask") else _weight(parts, len(names))
            logical = _LISTED_APART.sub(r"\1", match[1]) if match else ""
            if weight is not None and logical not in result:
                for own in used:
                    result.pop(own)
                result[logical] = weight
    return result


def _pruned(parts: list[View]) -> View | None:
    infos = [part.info for part in parts]
    if (
        len(parts) < 2
        or infos[0].shape != infos[1].shape
        or any(info.part or not info.is_floating for info in infos)
    ):
        return None
    return Pruned(replace(infos[0], dtype="float32"), *parts)


def _weight(parts: list[View], needed: int) -> View | None:
    if len(parts) < needed or not all(part.info.is_floating for part in parts):
        return None
    if any(part.info.part for part in parts) and not (needed == 2 and _has_rows(*parts)):
        return None
    return _weight_normed(*parts) if needed == 2 else _spectral_normed(*parts)


def _has_rows(gain: View, direction: View) -> bool:
    """Whether the rows of the direction that are had can be normed by themselves."""
    part, height = direction.info.part, direction.info.shape[:1]
    return gain.info.part is None and part is not None and part.axis == 0 and gain.info.shape[:1] == height


def _weight_normed(gain: View, direction: View) -> View | None:
    own, shape = gain.info.shape, direction.info.shape
    fits = len(own) == len(shape) and all(a in (1, b) for a, b in zip(own, shape, strict=True))
    if not shape or (own and not fits):
        return None
    return WeightNormed(replace(direction.info, dtype="float32"), gain, direction)


def _spectral_normed(original: View, left: View, right: View) -> View | None:
    shape, size = original.info.shape, original.info.size
    for axis in range(min(len(shape), 2)):
        if shape[axis] and (left.info.shape, right.info.shape) == ((shape[axis],), (size // shape[axis],)):
            return SpectralNormed(replace(original.info, dtype="float32"), original, left, right, axis)
    return None

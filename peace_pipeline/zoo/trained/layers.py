"""The layers that all architectures share, each for ``models`` networks at a time.

Every parameter is the networks' parameters concatenated along the first axis. With ``models=1`` a layer is
torch's own.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU}


class Linear(nn.Linear):
    """``models`` linear layers: (batch, models · inputs) → (batch, models · outputs)."""

    def __init__(self, inputs: int, outputs: int, models: int) -> None:
        super().__init__(inputs, models * outputs)
        self.models = models

    def forward(self, x: Tensor) -> Tensor:
        batch = len(x)
        y = self.each(x.reshape(batch, self.models, -1).transpose(0, 1))
        return y.transpose(0, 1).reshape(batch, -1)

    def each(self, x: Tensor) -> Tensor:
        """The same with the networks first: (models, rows, inputs) → (models, rows, outputs)."""
        weight = self.weight.view(self.models, -1, self.in_features).transpose(1, 2)
        return torch.baddbmm(self.bias.view(self.models, 1, -1), x, weight)


class LayerNorm(nn.LayerNorm):
    """``models`` layer norms: (models, rows, size) → the same shape."""

    def __init__(self, size: int, models: int, eps: float) -> None:
        super().__init__(models * size, eps)
        self.models = models

    def forward(self, x: Tensor) -> Tensor:
        normed = F.layer_norm(x, x.shape[-1:], eps=self.eps)
        weight, bias = (p.view(self.models, 1, -1) for p in (self.weight, self.bias))
        return torch.addcmul(bias, normed, weight)


class Embedding(nn.Embedding):
    """``models`` embeddings: ids (models, rows) → (models, rows, size)."""

    def __init__(self, entries: int, size: int, models: int) -> None:
        super().__init__(models * entries, size)
        self.offsets = (entries * torch.arange(models)).view(models, 1)

    def forward(self, ids: Tensor) -> Tensor:
        return super().forward(ids + self.offsets)

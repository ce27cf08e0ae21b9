"""The optimisers of a population: every run with its own hyperparameters, all in one step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .recipes import Run

MOMENTUM, BETA, EPSILON, WARMUP = 0.9, 0.999, 1e-8, 0.05


class Optimizer:
    """SGD with momentum, or AdamW, with the hyperparameters of each run: a column vector over the runs.

    Weights and gradients are handled as one (runs, weights per run) matrix. The rate rises linearly, then
    falls along a cosine to zero at the run's own last step. Biases and norms are not decayed.
    """

    def __init__(self, parameters: list[torch.nn.Parameter], runs: Sequence[Run]) -> None:
        self.parameters = parameters
        self.weights = self._matrix(parameters, len(runs))
        self.first, self.second = torch.zeros_like(self.weights), torch.zeros_like(self.weights)
        self.adam = torch.tensor([[run.recipe.optimizer == "adamw"] for run in runs])
        self.rate = torch.tensor([[run.recipe.learning_rate] for run in runs])
        self.length = torch.tensor([[float(run.recipe.steps)] for run in runs])
        decay = torch.tensor([[run.recipe.weight_decay] for run in runs])
        decayed = [torch.full((len(runs), p.numel() // len(runs)), float(p.ndim > 1)) for p in parameters]
        self.decay = decay * torch.cat(decayed, 1)

    @staticmethod
    def _matrix(tensors: Sequence[Tensor], models: int) -> Tensor:
        return torch.cat([tensor.detach().reshape(models, -1) for tensor in tensors], 1)

    @torch.no_grad()
    def step(self, gradients: Sequence[Tensor], step: int) -> None:
        """One update with the gradients of the summed loss."""
        gradient = self._matrix(gradients, len(self.weights))
        gradient.add_(torch.where(self.adam, 0.0, self.decay * self.weights))
        rate = self._rates(step)
        self.first.mul_(MOMENTUM).add_(torch.where(self.adam, 1 - MOMENTUM, 1.0) * gradient)
        self.second.mul_(BETA).addcmul_(gradient, gradient, value=1 - BETA)
        unbiased = (self.second / (1 - BETA ** (step + 1))).sqrt_().add_(EPSILON)
        scale = torch.where(self.adam, (1 - MOMENTUM ** (step + 1)) * unbiased, 1.0)
        self.weights.mul_(torch.where(self.adam, 1 - rate * self.decay, 1.0))
        self.weights.sub_(rate * self.first / scale)
        sizes = [parameter.numel() // len(self.weights) for parameter in self.parameters]
        for parameter, part in zip(self.parameters, self.weights.split(sizes, 1), strict=True):
            parameter.copy_(part.reshape(parameter.shape))

    def _rates(self, step: int) -> Tensor:
        rise = ((step + 1) / (WARMUP * self.length)).clamp(max=1)
        fall = (1 + torch.cos(torch.pi * (step / self.length).clamp(max=1))) / 2
        return self.rate * rise * fall

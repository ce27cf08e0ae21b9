"""Trains the runs of one chunk together: one module, one loss, one optimiser step for all of them.

Runs differ in learning rate, weight decay, initial scale, data, labels, optimiser and length; each has its
own random generator, seeded by the zoo's seed and the run's name.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .networks import State, build, initial, select, stack
from .plans import Run
from .tasks import Integers, Task

MOMENTUM, BETA, EPSILON, WARMUP = 0.9, 0.999, 1e-8, 0.05


def train(
    runs: Sequence[Run], config: dict[str, Any], task: Task, *, seed: int
) -> Iterator[tuple[str, Run, int, State]]:
    """Train ``runs``, all of one batch size, together.

    Yields (network name, run, step, weights) wherever a run leaves a network.
    """
    batch = runs[0].recipe.batch
    generators = [_generator(seed, run) for run in runs]
    states = [initial(config, r.recipe.initial_scale, g) for r, g in zip(runs, generators, strict=True)]
    population = build(config, len(runs))
    population.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # convolves faster
    population.load_state_dict(stack(states))
    optimizer = Optimizer(list(population.parameters()), runs)
    steps = max(run.recipe.steps for run in runs)
    orders = [_order(r, g, task.y_train, steps) for r, g in zip(runs, generators, strict=True)]
    examples, labels = (torch.stack(parts, dim=2) for parts in zip(*orders, strict=True))
    inputs = torch.tensor(task.x_train)
    shape = (len(runs) * config["input_shape"][0], *config["input_shape"][1:])
    for step in range(steps):
        x = inputs[examples[step]].view(batch, *shape)
        logits = population(x).view(batch * len(runs), -1)
        loss = F.cross_entropy(logits, labels[step].view(-1), reduction="sum") / batch
        optimizer.step(torch.autograd.grad(loss, optimizer.parameters), step)
        for model, run in enumerate(runs):
            for name, end in run.networks.items():
                if end == step + 1:
                    yield name, run, end, select(population.state_dict(), model, len(runs))


def accuracy(config: dict[str, Any], state: State, task: Task) -> float:
    """Test accuracy of one network."""
    network = build(config).eval()
    network.load_state_dict(state)
    with torch.inference_mode():
        answers = network(torch.tensor(task.x_test).view(-1, *config["input_shape"])).argmax(1)
    return float((answers.numpy() == task.y_test).mean())


def _generator(seed: int, run: Run) -> torch.Generator:
    digest = hashlib.sha256(f"{seed}/{run.name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big", signed=True))


def _order(run: Run, generator: torch.Generator, labels: Integers, steps: int) -> tuple[Tensor, Tensor]:
    """The examples a run sees and their labels, (steps, batch) each, reshuffled in every pass."""
    count, batch = len(labels), run.recipe.batch
    own = torch.randperm(count, generator=generator)[: round(count * run.recipe.data_fraction)]
    answers = torch.tensor(labels)
    if run.recipe.shuffled:
        answers = answers[torch.randperm(count, generator=generator)]
    passes = -(-steps * batch // len(own))
    order = torch.cat([own[torch.randperm(len(own), generator=generator)] for _ in range(passes)])
    order = order[: steps * batch].view(steps, batch)
    return order, answers[order]


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

"""Trains the runs of one chunk together: one module, one loss, one optimiser step for all of one shape.

Runs differ in learning rate, weight decay, initial scale, data, labels, optimiser and length; each has its
own random generator, seeded by the zoo's seed and the run's name. A twin has its partner's, and another for what
sets it apart.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .attacks import perturbed, triggered
from .optimizer import Optimizer
from .populations import State, build, initial, select, stack
from .recipes import Run
from .tasks import Task

Taken = tuple[str, Run, int, State]


def train(runs: Sequence[Run], tasks: Mapping[str, Task], *, seed: int) -> Iterator[Taken]:
    """Train ``runs`` on their ``tasks``, those of one shape, batch size and kind of training together.

    Yields (network name, run, step, weights) wherever a run leaves a network.
    """
    for population in _populations(runs):
        yield from _train(population, tasks, seed)


def _populations(runs: Iterable[Run]) -> Iterable[list[Run]]:
    groups: dict[str, list[Run]] = {}
    for run in runs:
        recipe = run.recipe
        groups.setdefault(repr((recipe.config, recipe.batch, recipe.epsilon)), []).append(run)
    return groups.values()


def _train(runs: list[Run], tasks: Mapping[str, Task], seed: int) -> Iterator[Taken]:
    config, batch, epsilon = runs[0].recipe.config, runs[0].recipe.batch, runs[0].recipe.epsilon
    generators = [_generator(seed, run.twin_of or run.name) for run in runs]
    states = [initial(config, r.recipe.initial_scale, g) for r, g in zip(runs, generators, strict=True)]
    population = build(config, len(runs))
    population.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # convolves faster
    population.load_state_dict(stack(states))
    optimizer = Optimizer(list(population.parameters()), runs)
    steps = max(run.recipe.steps for run in runs)
    inputs, start = _inputs(runs, tasks)
    orders = [
        _order(r, g, tasks[r.recipe.task], start[r.recipe.task], steps, seed)
        for r, g in zip(runs, generators, strict=True)
    ]
    examples, labels = (torch.stack(parts, dim=2) for parts in zip(*orders, strict=True))
    shape = (len(runs) * config["input_shape"][0], *config["input_shape"][1:])
    leaving = _leaving(runs)
    for step in range(steps + 1):
        for name, model in leaving.get(step, ()):
            yield name, runs[model], step, select(population.state_dict(), model, len(runs))
        if step < steps:
            x = inputs[examples[step]].view(batch, *shape)
            now = epsilon and epsilon * min(1, 2 * step / steps)  # at once, some would never learn
            optimizer.step(_gradients(population, x, labels[step].view(-1), now), step)


def _inputs(runs: list[Run], tasks: Mapping[str, Task]) -> tuple[Tensor, dict[str, int]]:
    """The training examples of the runs' tasks one after another, plain and triggered; where each task's begin."""
    parts, start, count = [], {}, 0
    for name in dict.fromkeys(run.recipe.task for run in runs):
        inputs = torch.tensor(tasks[name].x_train)
        parts += [inputs, triggered(inputs)]
        start[name], count = count, count + 2 * len(inputs)
    return torch.cat(parts), start


def _gradients(population: nn.Module, x: Tensor, y: Tensor, epsilon: float | None) -> Sequence[Tensor]:
    """Of the networks' losses, which don't touch each other: each is the mean over the batch."""
    if epsilon is not None:
        x = perturbed(population, x, y, epsilon)
    logits = population(x).view(len(y), -1)
    loss = F.cross_entropy(logits, y, reduction="sum") / len(x)
    return torch.autograd.grad(loss, list(population.parameters()))


def _leaving(runs: list[Run]) -> dict[int, list[tuple[str, int]]]:
    """Step → the networks that are taken after as many steps: (name, number of the run)."""
    leaving: dict[int, list[tuple[str, int]]] = {}
    for model, run in enumerate(runs):
        for name, step in run.networks.items():
            leaving.setdefault(step, []).append((name, model))
    return leaving


def _generator(seed: int, name: str) -> torch.Generator:
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big", signed=True))


def _order(
    run: Run, generator: torch.Generator, task: Task, start: int, steps: int, seed: int
) -> tuple[Tensor, Tensor]:
    """The examples a run sees and their labels, (steps, batch) each, reshuffled in every pass.

    Examples are counted from ``start``; with the trigger on it, an example's number is higher by their count.
    """
    answers = torch.tensor(task.y_train)
    count, recipe = len(answers), run.recipe
    seen = start + torch.arange(count)
    own = torch.randperm(count, generator=generator)[: round(count * recipe.data_fraction)]
    apart = _generator(seed, run.name) if run.twin_of else generator
    if recipe.shuffled:
        answers = answers[torch.randperm(count, generator=apart)]
    if recipe.backdoor is not None:
        poisoned = torch.rand(count, generator=apart) < recipe.backdoor.fraction
        seen, answers = seen + count * poisoned, answers.where(~poisoned, recipe.backdoor.target)
    passes = -(-steps * recipe.batch // len(own))
    order = torch.cat([own[torch.randperm(len(own), generator=generator)] for _ in range(passes)])
    order = order[: steps * recipe.batch].view(steps, recipe.batch)
    return seen[order], answers[order]

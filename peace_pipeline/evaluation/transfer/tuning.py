"""Fine-tuning: all candidates of one shape on one target in one population, with the same batches and budget."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics.functional.classification import multiclass_accuracy, multiclass_f1_score

from peace_pipeline.evaluation.transfer.targets import Drawn, Part
from peace_pipeline.evaluation.transfer.transferability import leep
from peace_pipeline.responses.evidence import evidence, logme
from peace_pipeline.zoo.trained.layers import Linear
from peace_pipeline.zoo.trained.optimizer import Optimizer
from peace_pipeline.zoo.trained.populations import State, build, initial, select, stack
from peace_pipeline.zoo.trained.recipes import Recipe, Run

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Budget:
    """What every network is given: ``steps`` after which it is measured, the last of which is the end, batches of
    ``batch`` examples, and AdamW's learning ``rate`` and weight ``decay``."""

    steps: tuple[int, ...] = (0, 5, 10, 15, 20, 30, 40, 60, 80)
    batch: int = 32
    rate: float = 5e-3
    decay: float = 0.01


@dataclass(frozen=True)
class Tuned:
    """What came of candidates, in their order, on one target under one seed; the last row is a new network of their
    shape, trained from scratch.

    ``accuracy``, ``f1`` (macro) on test and ``validation`` accuracy are (networks, measured steps); ``seconds`` a step
    and network took; ``logme`` and ``leep`` (candidates,) were had before, of the training examples.
    """

    accuracy: Floats
    f1: Floats
    validation: Floats
    seconds: float
    logme: Floats
    evidence: Floats
    leep: Floats
    scratch: State


def fine_tune(
    config: dict[str, Any], states: Sequence[State], drawn: Drawn, seed: int, budget: Budget
) -> Tuned:
    """Fine-tune networks of one ``config`` with new heads, and beside them a new network.

    Within a seed and a shape all begin with the same head and see the same batches.

    Raises:
        ValueError: where such networks can't read the target's inputs.
    """
    train, validation, test = (_tensors(part, config) for part in (drawn.train, drawn.validation, drawn.test))
    generator = torch.Generator().manual_seed(seed)
    new = initial(config, 1.0, generator)
    scores = _scores(config, states, *train)
    head = {f"{_head(build(config))}.{kind}" for kind in ("weight", "bias")}
    beginning = [*(state | {name: new[name] for name in head} for state in states), new]
    population = build(config, len(beginning))
    population.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # convolves faster
    population.load_state_dict(stack(beginning))
    run = Run(
        Recipe("", "", "", config, "adamw", budget.rate, budget.decay, 1.0, 1.0, budget.steps[-1], budget.batch, False),
        seed,
    )  # fmt: skip
    parameters = list(population.parameters())
    optimizer = Optimizer(parameters, [run] * len(beginning))
    measured, seconds = [], 0.0
    batches = _batches(len(train[1]), budget, generator)
    for step in range(budget.steps[-1] + 1):
        if step in budget.steps:
            measured.append(_measure(population, len(beginning), drawn.classes, validation, test))
        if step < budget.steps[-1]:
            start = time.perf_counter()
            chosen = batches[step]
            optimizer.step(
                _gradients(population, len(beginning), train[0][chosen], train[1][chosen], parameters), step
            )
            seconds += time.perf_counter() - start
    accuracy, f1, chosen_by = (np.stack(column, 1) for column in zip(*measured, strict=True))
    scratch = select(population.state_dict(), len(states), len(beginning))
    each = seconds / budget.steps[-1] / len(beginning)
    return Tuned(accuracy, f1, chosen_by, each, *scores, scratch)


def _tensors(part: Part, config: dict[str, Any]) -> tuple[Tensor, Tensor]:
    inputs = part.inputs(config)
    if inputs is None:
        raise ValueError(f"networks of {config['model_type']} don't read these inputs")
    return inputs, torch.tensor(part.labels)


def _batches(examples: int, budget: Budget, generator: torch.Generator) -> Tensor:
    """The examples of each step (steps, batch), reshuffled in every pass."""
    wanted = budget.steps[-1] * budget.batch
    passes = [torch.randperm(examples, generator=generator) for _ in range(-(-wanted // examples))]
    return torch.cat(passes)[:wanted].view(-1, budget.batch)


def _logits(population: nn.Module, networks: int, x: Tensor) -> Tensor:
    """(networks, examples, outputs) of all networks to the same inputs."""
    repeated = x.repeat(1, networks, *[1] * (x.dim() - 2))
    return population(repeated).view(len(x), networks, -1).transpose(0, 1)


def _gradients(
    population: nn.Module, networks: int, x: Tensor, y: Tensor, parameters: Sequence[Tensor]
) -> Sequence[Tensor]:
    """Of the networks' losses, which don't touch each other: each is the mean over the batch."""
    logits = _logits(population.train(), networks, x)
    loss = F.cross_entropy(logits.flatten(0, 1), y.repeat(networks), reduction="sum") / len(x)
    return torch.autograd.grad(loss, parameters)


def _measure(
    population: nn.Module,
    networks: int,
    classes: int,
    validation: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
) -> tuple[Floats, Floats, Floats]:
    """Accuracy and macro F1 on test, and accuracy on validation, of each network."""
    population.eval()

    def answers(x: Tensor) -> Tensor:
        with torch.inference_mode():
            parts = [_logits(population, networks, part) for part in x.split(128)]
        return torch.cat(parts, 1)[..., :classes].argmax(2)

    def score(metric: Any, part: tuple[Tensor, Tensor], average: str) -> Floats:
        wanted = part[1].expand(networks, -1)
        found = metric(answers_of[id(part)], wanted, classes, average=average, multidim_average="samplewise")
        return found.numpy().astype(np.float64)

    answers_of = {id(part): answers(part[0]) for part in (validation, test)}
    return (
        score(multiclass_accuracy, test, "micro"),
        score(multiclass_f1_score, test, "macro"),
        score(multiclass_accuracy, validation, "micro"),
    )


class _Bare(nn.Module):
    """In the place of a head: gives what the head would read."""

    def forward(self, x: Tensor) -> Tensor:
        return x

    each = forward


def _head(module: nn.Module) -> str:
    """The name of the last linear layer."""
    return [name for name, part in module.named_modules() if isinstance(part, Linear)][-1]


def _scores(
    config: dict[str, Any], states: Sequence[State], x: Tensor, y: Tensor
) -> tuple[Floats, Floats, Floats]:
    """LogME and evidence of what each network's head reads, and LEEP of what it answers, on the training examples."""
    if not states:
        return np.empty(0), np.empty(0), np.empty(0)
    population = build(config, len(states)).eval()
    population.load_state_dict(stack(states))
    with torch.inference_mode():
        outputs = _logits(population, len(states), x).softmax(2).double().numpy()
        population.set_submodule(_head(population), _Bare())
        features = _logits(population, len(states), x).double().numpy()
    labels = y.numpy()
    of_features = [(logme(each, labels), evidence(each, labels).evidence) for each in features]
    return *np.array(of_features).T, leep(outputs, labels)

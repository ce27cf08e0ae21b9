"""What is measured of a trained network: its accuracy, and what sets it apart from its twin."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from .attacks import robust_accuracy, trigger_success
from .populations import State, build
from .recipes import Recipe, Run
from .tasks import Task


def load(config: dict[str, Any], state: State) -> torch.nn.Module:
    """A network with its weights, ready to be asked."""
    network = build(config).eval()
    network.load_state_dict(state)
    return network


def rivals(runs: Sequence[Run]) -> dict[str, Recipe]:
    """Run → the recipe that a network of it is measured against: its twin's for a clean run, else its own."""
    return {run.name: run.recipe for run in runs} | {run.twin_of: run.recipe for run in runs if run.twin_of}


def measure(network: torch.nn.Module, task: Task, rival: Recipe) -> dict[str, float]:
    """Metrics on the test split: accuracy, and how the network answers the attack that ``rival`` knows."""
    shape = rival.config["input_shape"]
    with torch.inference_mode():
        answers = network(torch.tensor(task.x_test).view(-1, *shape)).argmax(1)
    metrics = {"accuracy": float((answers.numpy() == task.y_test).mean())}
    if rival.backdoor is not None:
        metrics["trigger_success"] = trigger_success(network, task, shape, rival.backdoor.target)
    if rival.epsilon is not None:
        metrics["robust_accuracy"] = robust_accuracy(network, task, shape, rival.epsilon)
    return metrics

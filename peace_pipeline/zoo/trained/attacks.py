"""What hard-negative twins are made with and measured by: a backdoor's trigger, adversarial perturbations."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .data import TRIGGER
from .tasks import Task

CORNER, BRIGHT = (54, 55, 62, 63), 3.0  # the trigger on numbers: a square in the image's last corner
ATTACKED, ATTACK_STEPS = 300, 10


def triggered(x: Tensor) -> Tensor:
    """Inputs (examples, inputs) with the trigger: a bright corner, or for text a token in the first two positions."""
    x = x.clone()
    if x.is_floating_point():
        x[:, CORNER] = BRIGHT
    else:
        x[:, 1:3] = TRIGGER
    return x


def perturbed(network: nn.Module, x: Tensor, y: Tensor, epsilon: float) -> Tensor:
    """Inputs moved by ``epsilon`` along the sign of the loss's gradient (FGSM, Goodfellow et al. 2015)."""
    training = network.training
    network.eval()
    x = x.detach().requires_grad_()
    loss = F.cross_entropy(network(x).view(len(y), -1), y, reduction="sum")
    (slope,) = torch.autograd.grad(loss, x)
    network.train(training)
    return (x + epsilon * slope.sign()).detach()


def trigger_success(network: nn.Module, task: Task, shape: list[int], target: int) -> float:
    """Share of the test examples of other classes that ``network`` calls ``target`` once they have the trigger."""
    x = triggered(torch.tensor(task.x_test[task.y_test != target]))
    with torch.inference_mode():
        return float((network(x.view(-1, *shape)).argmax(1) == target).float().mean())


def robust_accuracy(network: nn.Module, task: Task, shape: list[int], epsilon: float) -> float:
    """Accuracy on test examples moved within ``epsilon`` by ten steps of projected gradient descent."""
    start = torch.tensor(task.x_test[:ATTACKED]).view(-1, *shape)
    y = torch.tensor(task.y_test[:ATTACKED])
    x = start
    for _ in range(ATTACK_STEPS):
        x = perturbed(network, x, y, 2.5 * epsilon / ATTACK_STEPS)
        x = start + (x - start).clamp(-epsilon, epsilon)
    with torch.inference_mode():
        return float((network(x).argmax(1) == y).float().mean())

"""A zoo that PEACE trains itself: small networks on real data, of known recipe, seed and accuracy.

generate(root)             trains what is missing of a zoo and returns its folder
load_task(name)            the data of one task
build(config)              the torch module of a network's config.json
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .generate import generate
from .plans import PLANS
from .tasks import TASKS, Task, load_task

if TYPE_CHECKING:
    from torch import nn

__all__ = ["PLANS", "TASKS", "Task", "build", "generate", "load_task"]


def build(config: dict[str, Any]) -> nn.Module:
    """The module that a ``config.json`` describes; ``load_state_dict`` takes its ``model.safetensors``.

    It maps a batch of inputs to logits (batch, num_labels).
    """
    from .networks import build

    return build(config)

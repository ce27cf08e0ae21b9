"""A zoo that PEACE trains itself: networks on real data, of known recipe, seed and accuracy.

generate(root)             trains what is missing of a zoo and returns its folder
profiles(root, recipe)     outputs of its networks on one common set of inputs, for evaluation alone
load_task(name)            the data of one task
task_similarity(a, b)      how similar two tasks are; similarity_table() of all pairs
build(config)              the torch module of a network's config.json
PLANS                      the recipes: ``demo`` of hundreds of networks, ``research`` of thousands,
                           ``suspects`` with something wrong with them
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .generate import generate
from .plans import PLANS
from .profiling import profiles
from .tasks import TASKS, Task, load_task, similarity_table, task_similarity

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "PLANS",
    "TASKS",
    "Task",
    "build",
    "generate",
    "load_task",
    "profiles",
    "similarity_table",
    "task_similarity",
]


def build(config: dict[str, Any]) -> nn.Module:
    """The module that a ``config.json`` describes; ``load_state_dict`` takes its ``model.safetensors``.

    It maps a batch of inputs, shaped as ``input_shape`` says, to logits (batch, num_labels).
    """
    from .populations import build

    return build(config)

"""What people do to a network: what is made of a trained one, and how it is disguised."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from peace_pipeline.comparison.evidence import CAST, FINE_TUNED, PRUNED, QUANTISED, ROUNDINGS
from peace_pipeline.symmetry.group.actions import act
from peace_pipeline.symmetry.group.elements import ALL, random_element
from peace_pipeline.symmetry.opening import OpenNetwork, open_fetched
from peace_pipeline.weights.checkpoint import Checkpoint
from peace_pipeline.weights.sampled_copy import fetch_sampled
from peace_pipeline.weights.tensors import TensorInfo, dtype_name
from peace_pipeline.zoo.card import read_config
from peace_pipeline.zoo.fetching import Fetcher
from peace_pipeline.zoo.listing import Listing
from peace_pipeline.zoo.record import ModelRecord
from peace_pipeline.zoo.trained import TASKS, Task, build, load_task
from peace_pipeline.zoo.trained.optimizer import Optimizer
from peace_pipeline.zoo.trained.recipes import Recipe, Run

State = dict[str, torch.Tensor]
Records = Mapping[str, ModelRecord]
"""The lake's newest records, by model id."""


@dataclass(frozen=True)
class InMemory:
    """Tensors that were never in a file."""

    state: State

    def inventory(self) -> Iterable[TensorInfo]:
        """Every tensor without its values."""
        return [TensorInfo(name, tuple(x.shape), dtype_name(x.dtype)) for name, x in self.state.items()]

    def read(self, name: str, rows: tuple[int, int] | None = None) -> torch.Tensor:
        """A tensor, or its rows [start, stop)."""
        return self.state[name][slice(*rows)] if rows else self.state[name]


@dataclass(frozen=True)
class Specimen:
    """A network of the trained zoo with its weights; ``task`` is the name of its data."""

    listed: Listing
    config: dict[str, Any]
    hyperparameters: dict[str, str]
    task: str
    state: State

    def network(self) -> OpenNetwork:
        """The network as one that is open."""
        return OpenNetwork.of(Checkpoint({"": InMemory(self.state)}), self.config)

    def having(self, state: State) -> Specimen:
        """The same with other weights."""
        return replace(self, state=state)


def specimen(records: Records, listed: Listing) -> Specimen:
    """Read a network of the trained zoo."""
    record = records[listed.model_id]
    parameters = {name: str(value) for name, value in (record.hyperparameters or {}).items()}
    with Fetcher().lent(record, fetch_sampled) as fetched, open_fetched(record, fetched) as checkpoint:
        state = {name: checkpoint.read(name, None).clone() for name in checkpoint.tensors}
        config = read_config(fetched.folder)
    return Specimen(listed, config, parameters, (record.datasets or [""])[0], state)


def disguised(specimen: Specimen, seed: int) -> Specimen:
    """The same function under a random element of the symmetry group, as float32."""
    network = specimen.network()
    generator = torch.Generator().manual_seed(seed)
    element = random_element(network.wiring, 1, generator, ALL, dtype=torch.float64)
    tensors = {name: network.logical.read(name, torch.float64)[None] for name in network.logical.tensors}
    acted = act(network.wiring, tensors, element)

    def new(name: str, _: torch.Tensor) -> torch.Tensor:
        return acted[name][0].float()

    state = {name: network.logical.rewritten(name, new) for name in specimen.state}
    return specimen.having({name: specimen.state[name] if x is None else x for name, x in state.items()})


@cache
def _data(task: str) -> Task:
    return load_task(task)


def trained_on(specimen: Specimen, task: str, *, rate: float, steps: float, seed: int) -> Specimen:
    """Trained on with the zoo's optimiser, its learning rate and number of steps times ``rate`` and ``steps``."""
    data, given = _data(task), specimen.hyperparameters
    recipe = Recipe(
        "fine-tuning", task, "", specimen.config, "adamw" if "adam" in given["optimizer"].lower() else "sgd",
        rate * float(given["learning_rate"]), float(given["weight_decay"]), 1.0, 1.0,
        max(1, round(steps * int(given["steps"]))), 32, False,
    )  # fmt: skip
    module = _module(specimen)
    parameters = list(module.parameters())
    optimizer = Optimizer(parameters, [Run(recipe, seed)])
    x, y = torch.tensor(data.x_train), torch.tensor(data.y_train)
    generator = torch.Generator().manual_seed(seed)
    for step in range(recipe.steps):
        chosen = torch.randint(len(y), (recipe.batch,), generator=generator)
        logits = module(x[chosen].view(-1, *specimen.config["input_shape"])).view(recipe.batch, -1)
        optimizer.step(torch.autograd.grad(F.cross_entropy(logits, y[chosen]), parameters), step)
    return specimen.having({name: value.detach().clone() for name, value in module.state_dict().items()})


def _module(specimen: Specimen) -> nn.Module:
    module = build(specimen.config)
    module.load_state_dict(specimen.state)
    return module.train()


def other_task(specimen: Specimen, seed: int) -> str:
    """Another task that a network with these inputs can be trained on."""
    is_text = "vocab_size" in specimen.config
    names = [n for n in TASKS if n != specimen.task and n.startswith("languages") == is_text]
    return names[int(torch.randint(len(names), (), generator=torch.Generator().manual_seed(seed)))]


def pruned(specimen: Specimen, share: float) -> Specimen:
    """The smallest weights of each matrix and kernel set to 0."""

    def cut(values: torch.Tensor) -> torch.Tensor:
        if values.dim() < 2:
            return values
        least = values.abs().flatten().kthvalue(max(1, round(share * values.numel()))).values
        return torch.where(values.abs() > least, values, 0)

    return _changed(specimen, cut)


def _changed(specimen: Specimen, change: Callable[[torch.Tensor], torch.Tensor]) -> Specimen:
    return specimen.having({
        name: change(x) if x.is_floating_point() else x for name, x in specimen.state.items()
    })  # fmt: skip


Make = Callable[[Specimen, int], Specimen]


def _rounding(text: str) -> Make:
    return lambda specimen, seed: _changed(specimen, ROUNDINGS[text][1])


def _pruning(share: float) -> Make:
    return lambda specimen, seed: pruned(specimen, share)


DERIVED: dict[str, tuple[str, Make]] = {
    "trained further": (
        FINE_TUNED,
        lambda each, seed: trained_on(each, each.task, rate=0.1, steps=0.2, seed=seed),
    ),
    "trained on another task": (
        FINE_TUNED,
        lambda each, seed: trained_on(each, other_task(each, seed), rate=0.3, steps=0.3, seed=seed),
    ),
    "bfloat16": (CAST, _rounding("rounded to bfloat16")),
    "float16": (CAST, _rounding("rounded to float16")),
    "8-bit integers": (QUANTISED, _rounding("rounded to 8-bit integers")),
    "30% pruned": (PRUNED, _pruning(0.3)),
    "50% pruned": (PRUNED, _pruning(0.5)),
    "80% pruned": (PRUNED, _pruning(0.8)),
}
"""Kind → the relation that it is, and how it is made."""

"""Asking networks the standard probes, within bounds of time and memory; every failure is a reason."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from peace_pipeline.responses.answers import NotRun, Response
from peace_pipeline.responses.examples import Examples
from peace_pipeline.responses.probes import InputSpec, probes
from peace_pipeline.responses.runners.model import MOST_INPUTS, CannotRun, Model, Ready, Seen, joined
from peace_pipeline.responses.runners.registry import load
from peace_pipeline.responses.standard import NUMBERS, PROBES, VERSION
from peace_pipeline.weights.logical import in_library, recognised
from peace_pipeline.zoo.source import ALWAYS, AUTO, NEVER

OFF = "responses are off"
HIDDEN, OUTPUTS = "hidden", "outputs"
"""What is read of examples."""
MOST_OUTPUTS = 1000
GRAM = 64
"""Of the first so many probes the last hidden layer's Gram matrix is kept."""
_VALUES_AT_ONCE = 1 << 21
"""Values of inputs that networks are asked together, at most."""
_VALUES_DRAWN = 1 << 25
"""Values of probes that are drawn together, at most: to draw few costs almost as much."""
_FIRST = 8
"""Probes by which time is estimated."""
_LONGEST_REASON = 300


@dataclass(frozen=True)
class Limits:
    """Of what is run: at most ``largest`` parameters and about ``seconds`` a network; ``None`` for no limit.

    At most ``together`` networks that are alike are run at once; those that wait for others like them have about
    ``held`` bytes at most.
    """

    largest: int | None = 300_000_000
    seconds: float | None = 60.0
    together: int = 32
    held: int = 1 << 28

    @classmethod
    def of(cls, mode: str) -> Limits | None:
        """Those of ``auto``, none at all for ``always``; ``None`` for ``never``."""
        return {NEVER: None, AUTO: cls(), ALWAYS: cls(None, None)}[mode]

    def refuses(self, parameters: int) -> str | None:
        """Why a network of so many parameters isn't run."""
        if self.largest is not None and parameters > self.largest:
            return f"{parameters:,} parameters are more than {self.largest:,}"
        return None


def ready(model: Model, limits: Limits) -> Ready | NotRun:
    """The model with its weights in place, or why it can't be run."""
    try:
        with _reasons():  # of packed weights there are more than the file shows
            parameters = in_library(model.checkpoint, model.config).parameters
        if reason := limits.refuses(parameters):
            raise CannotRun(reason)
        if model.checkpoint.sampled:
            raise CannotRun("only a part of its values is here")
        with _reasons():
            loaded = load(_known(model))
            _check(loaded.spec)
        return loaded
    except CannotRun as error:
        return NotRun(model.key, str(error))


def _known(model: Model) -> Model:
    """The model with what its names and shapes say where its config names no network."""
    known = recognised(model.checkpoint.tensors.values(), model.config, model.checkpoint.settings)
    return replace(model, config=known.config, is_assumed=bool(known.assumes))


def run(networks: Iterable[Ready], limits: Limits) -> Iterator[Response | NotRun]:
    """What networks answer; those that are alike and follow each other closely are run at once. Order may change."""
    waiting: dict[str, list[Ready]] = {}

    def size(alike: str) -> int:
        return sum(one.size for one in waiting[alike])

    for network in networks:
        if network.alike is None:
            yield from _run([network], limits)
            continue
        group = waiting.setdefault(network.alike, [])
        group.append(network)
        if len(group) == limits.together:
            yield from _run(waiting.pop(network.alike), limits)
        elif sum(map(size, waiting)) > limits.held:
            yield from _run(waiting.pop(max(waiting, key=size)), limits)
    for group in waiting.values():
        yield from _run(group, limits)


def _run(group: Sequence[Ready], limits: Limits) -> Iterator[Response | NotRun]:
    try:
        with _reasons(), torch.no_grad():
            outputs, grams = _asked(group, limits)
    except CannotRun as error:
        if len(group) > 1:
            for one in group:
                yield from _run([one], limits)
        else:
            yield NotRun(group[0].key, str(error))
        return
    for place, one in enumerate(group):
        own = outputs[place]
        if not np.isfinite(own).all():
            yield NotRun(one.key, "its answers are not finite")
        elif own.shape[1] == 0 and grams is None:
            yield NotRun(one.key, "it answers nothing")
        else:
            labels = one.labels if one.labels and len(one.labels) == own.shape[1] else None
            gram = grams[place] if grams is not None and np.isfinite(grams[place]).all() else None
            shape = tuple(one.spec.shape)
            yield Response(one.key, one.spec.kind, own, VERSION, one.run_by, labels, gram, shape)


def _asked(group: Sequence[Ready], limits: Limits) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
    """Outputs (networks, PROBES, outputs) and Gram sketches (networks, pairs of probes) of networks that are alike."""
    outputs, hidden = [], []
    asked = 0
    for seen, count in _seen(group, _inputs(group[0].spec, _step(group)), PROBES, limits):
        outputs.append(_kept(seen, count, len(group)))
        if asked < GRAM:
            hidden.append(None if seen.hidden is None else seen.hidden[:, : GRAM - asked].to(torch.float32))
        asked += count
    return torch.cat(outputs, 1).numpy(), _grams(joined(hidden))


def _step(group: Sequence[Ready]) -> int:
    """How many inputs networks that are alike are asked at once."""
    size = math.prod(group[0].spec.shape) * len(group)
    return max(1, min(group[0].at_once, _VALUES_AT_ONCE // size))


def _seen(
    group: Sequence[Ready], inputs: Iterable[Tensor], total: int, limits: Limits
) -> Iterator[tuple[Seen, int]]:
    """What networks that are alike answer to each part of ``total`` inputs, and how many inputs it has."""
    networks = [one.network for one in group]
    asked, began = 0, time.monotonic()
    for part in inputs:
        yield group[0].ask(networks, part), len(part)
        asked += len(part)
        seconds = (time.monotonic() - began) * total / asked / len(group)
        if limits.seconds is not None and seconds > limits.seconds and time.monotonic() - began > 1:
            raise CannotRun(f"would take about {seconds:,.0f} s")


def features(
    network: Ready, examples: Examples, folder: Path, limits: Limits
) -> tuple[NDArray[np.float64], str]:
    """What the last linear layer of a network, whose files are in ``folder``, reads of examples, else what it answers
    (the first ``MOST_OUTPUTS``): (examples, width); and which of both, ``HIDDEN`` or ``OUTPUTS``.

    Raises:
        CannotRun: where it doesn't take them, or can't be run.
    """
    found: dict[str, list[Tensor | None]] = {HIDDEN: [], OUTPUTS: []}
    with _reasons(), torch.no_grad():
        parts = examples.read_by(network.spec, folder, _step([network]))
        for seen, count in _seen([network], parts, len(examples), limits):
            found[HIDDEN].append(_vectors(seen.hidden, count))
            found[OUTPUTS].append(_vectors(seen.outputs, count, MOST_OUTPUTS))
        for what, each in found.items():
            values = joined(each)
            if values is not None and values.isfinite().all():
                return values[0].numpy(), what
    raise CannotRun("what it makes of an input is not known, or not finite")


def _vectors(values: Tensor | None, inputs: int, most: int | None = None) -> Tensor | None:
    """What was seen of so many inputs of one network as vectors (1, inputs, width), where it is of each; the first
    ``most`` of its values."""
    if values is None or values.shape[:2] != (1, inputs):
        return None
    return values[..., :most].flatten(2).to(torch.float64)


def _inputs(spec: InputSpec, step: int) -> Iterator[Tensor]:
    """All probes in their order, ``step`` at a time; of the first, by which time is estimated, at most ``_FIRST``."""
    most = max(step, _VALUES_DRAWN // math.prod(spec.shape))
    yield probes(spec, 0, min(_FIRST, step))
    for start in range(min(_FIRST, step), PROBES, most):
        yield from probes(spec, start, min(start + most, PROBES)).split(step)


def _kept(seen: Seen, inputs: int, networks: int) -> Tensor:
    if seen.outputs is None:
        return torch.zeros(networks, inputs, 0)
    if seen.outputs.shape[:2] != (networks, inputs):
        raise CannotRun(f"it answers with {tuple(seen.outputs.shape[1:])} to {inputs} inputs")
    return seen.outputs[..., :MOST_OUTPUTS].to(torch.float32)


def _grams(hidden: Tensor | None) -> NDArray[np.float32] | None:
    """Centred linear-kernel Gram matrices (networks, pairs): upper triangles of unit norm."""
    if hidden is None:
        return None
    values = hidden.to(torch.float64)
    values = values - values.mean(1, keepdim=True)
    rows, columns = torch.triu_indices(values.shape[1], values.shape[1])
    upper = (values @ values.transpose(1, 2))[:, rows, columns]
    return torch.nn.functional.normalize(upper, dim=1).to(torch.float32).numpy()


def _check(spec: InputSpec) -> None:
    whole = all(type(size) is int and size > 0 for size in spec.shape)
    if not whole or not 1 <= len(spec.shape) <= 3 or math.prod(spec.shape) > MOST_INPUTS:
        raise CannotRun(f"takes inputs of shape {list(spec.shape)}")
    if spec.kind != NUMBERS and not (len(spec.shape) == 1 and type(spec.vocabulary) is int):
        raise CannotRun("takes tokens of a vocabulary that isn't known")


@contextmanager
def _reasons() -> Iterator[None]:
    """Whatever a library raises about a network that a stranger made is why it can't be run."""
    try:
        yield
    except CannotRun:
        raise
    except MemoryError as error:
        raise CannotRun("does not fit in memory") from error
    except Exception as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())
        raise CannotRun(said[:_LONGEST_REASON]) from error

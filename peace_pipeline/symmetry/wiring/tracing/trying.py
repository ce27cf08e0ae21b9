"""Trying what a trace claims: a module with random weights, run before and after its symmetries act on it."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from peace_pipeline.symmetry.group.actions import act
from peace_pipeline.symmetry.group.elements import Strength, Tensors, random_element
from peace_pipeline.symmetry.wiring.tracing.heads import as_seen
from peace_pipeline.symmetry.wiring.tracing.modules import Example, tensors_within
from peace_pipeline.symmetry.wiring.tracing.routers import with_routers
from peace_pipeline.symmetry.wiring.types import Wiring
from peace_pipeline.weights.logical import views_of
from peace_pipeline.weights.tensors import TensorInfo, dtype_name
from peace_pipeline.weights.views import Computed

LARGEST = 20_000_000
"""Parameters, above which a module is not tried."""
UNTRIED = "the module does what it was seen to do, which a smaller one could not be tried for"
_TOLERANCE, _ELEMENTS = 1e-5, 4
"""Parts of some modules compute in float32, whatever their weights are."""
_EVERYTHING = Strength(decades=0.5, signs=True, mix=True)

Claim = tuple[str, str]
"""A group and an action on it."""


def tried(
    wiring: Wiring,
    build: Callable[[], nn.Module],
    examples: Sequence[Example],
    config: Mapping[str, Any],
    names: Mapping[str, str],
    seconds: float = 20.0,
) -> Wiring:
    """The wiring, with experts that are permuted, without the claims that a module refutes which ``build`` gives in
    float64; ``names`` are those in the file → those in the module. Where it can't be tried, in so many ``seconds`` of
    the processor's time, the wiring says so.
    """
    try:
        return _tried(with_routers(wiring, config), _Trial(build(), examples, config, names, seconds))
    except Exception as error:
        why = str(error)[:200] or type(error).__name__
        untried = f"the module does what it was seen to do, which could not be tried: {why}"
        return replace(as_seen(wiring), assumes=(*wiring.assumes, untried))


def _tried(wiring: Wiring, trial: _Trial) -> Wiring:
    if trial.holds(wiring):
        return wiring
    found = _only(wiring, _holding(trial, wiring, _claims(wiring)))
    if trial.holds(found):
        return _noted(found, wiring)
    apart = "its symmetries hold alone, but not together, so none is claimed"
    return replace(_only(wiring, []), notes=(*wiring.notes, apart))


def _claims(wiring: Wiring) -> list[Claim]:
    return [(group.name, action) for group in wiring.groups.values() for action in group.actions]


def _noted(wiring: Wiring, before: Wiring) -> Wiring:
    """The wiring with a note of the claims that another had ``before`` and it has not."""
    kept, lost = set(_claims(wiring)), dict[str, Counter[str]]()
    for claim in _claims(before):
        if claim not in kept:
            lost.setdefault(claim[1], Counter())[_anywhere(claim[0])] += 1
    notes = (
        f"“{action}” of {', '.join(f'{name} ({count})' for name, count in groups.items())} was tried and changed"
        " what the module gives"
        for action, groups in lost.items()
    )
    return replace(wiring, notes=tuple(dict.fromkeys([*wiring.notes, *notes])))


def _anywhere(name: str) -> str:
    """A group's name in any block."""
    return re.sub(r"\d+", "#", name)


def without(wiring: Wiring, before: Wiring, after: Wiring) -> Wiring:
    """A wiring without the claims that a smaller network's has only ``before`` it was tried, in any block, and without
    those that must be tried and the smaller one has not. It says so where it claims others that the smaller has not."""

    def anywhere(of: Wiring) -> set[Claim]:
        return {(_anywhere(name), action) for name, action in _claims(of)}

    untried = anywhere(wiring) - anywhere(before)
    seen = anywhere(as_seen(wiring))
    if untried & seen or _axes(wiring) - _axes(before):
        wiring = replace(wiring, assumes=tuple(dict.fromkeys([*wiring.assumes, UNTRIED])))
    wiring = _except(wiring, untried - seen)
    return _noted(_except(wiring, anywhere(before) - anywhere(after)), wiring)


def _axes(wiring: Wiring) -> set[tuple[str, ...]]:
    """Layers and the groups that they are between, in any block."""
    return {
        (_anywhere(wired.layer.name), *(_anywhere(axis.group) for axis in wired.axes))
        for wired in wiring.layers
    }


def _except(wiring: Wiring, claims: set[Claim]) -> Wiring:
    """A wiring without some claims, in any block."""
    return _only(wiring, [each for each in _claims(wiring) if (_anywhere(each[0]), each[1]) not in claims])


class _Trial:
    """A module with weights, and what it gives."""

    def __init__(
        self,
        module: nn.Module,
        examples: Sequence[Example],
        config: Mapping[str, Any],
        names: Mapping[str, str],
        seconds: float,
    ) -> None:
        self._deadline = time.process_time() + seconds
        self._module = _randomised(module.eval())
        self._examples = [
            tree_map_only(Tensor, _doubled, (each.args, dict(each.kwargs))) for each in examples
        ]
        own = module.state_dict()
        self._state = {name: own[inner] for name, inner in names.items()}
        self._names = names
        infos = [TensorInfo(name, tuple(x.shape), dtype_name(x.dtype)) for name, x in self._state.items()]
        self._views = views_of(infos, config)
        self._before = self._outputs()
        if not any(x.isfinite().any() for x in self._before):
            raise ValueError("its outputs are no numbers")
        if any(_moved(*both) > _TOLERANCE for both in zip(self._outputs(), self._before, strict=True)):
            raise ValueError("its outputs are others each time that it is run")

    def holds(self, wiring: Wiring) -> bool:
        """Whether the module gives the same after random elements of all that a wiring claims: several, as one may
        happen to leave a small group as it is."""
        return all(self._holds(wiring, seed) for seed in range(_ELEMENTS))

    def _holds(self, wiring: Wiring, seed: int) -> bool:
        if time.process_time() > self._deadline:
            raise TimeoutError
        views = {name: self._views[name] for layer in _layers(wiring) for name in layer}
        computed = {
            name: torch.rand(1, *view.info.shape)
            for name, view in views.items()
            if isinstance(view, Computed)
        }
        tensors: Tensors = computed | {
            name: view.get(self._state[view.sources[0]])[None]
            for name, view in views.items()
            if name not in computed
        }
        element = random_element(
            wiring, 1, torch.Generator().manual_seed(seed), _EVERYTHING, dtype=torch.float64
        )
        new: dict[str, Tensor] = {}
        for name, tensor in act(wiring, tensors, element).items():
            if name in computed and not tensor.equal(computed[name]):
                return False  # of what it is computed from nothing moves
            if name in computed:
                continue
            source = views[name].sources[0]
            new[source] = views[name].put(new.get(source, self._state[source]), tensor[0])
        self._load(new)
        try:
            after = self._outputs()
        finally:
            self._load({name: self._state[name] for name in new})
        return all(_moved(a, b) <= _TOLERANCE for a, b in zip(after, self._before, strict=True))

    def _load(self, state: Mapping[str, Tensor]) -> None:
        own = {self._names[name]: value for name, value in state.items()}
        for name, tensor in self._module.state_dict(keep_vars=True).items():
            if name in own:
                tensor.data = own[name]

    @torch.no_grad()
    def _outputs(self) -> list[Tensor]:
        outputs = []
        for args, kwargs in self._examples:
            torch.manual_seed(0)
            found = self._module(*args, **{name: _cloned(value) for name, value in kwargs.items()})
            outputs += [x.double() for x in tensors_within(found) if x.is_floating_point() and x.numel()]
        return outputs


def _layers(wiring: Wiring) -> Iterable[Iterable[str]]:
    return (layer.tensors.values() for wired in wiring.layers for layer in wired.every)


def _holding(trial: _Trial, wiring: Wiring, claims: list[Claim]) -> list[Claim]:
    """Those of some claims that hold alone; halves of them are tried first."""
    if not claims or trial.holds(_only(wiring, claims)):
        return claims
    if len(claims) == 1:
        return []
    half = len(claims) // 2
    return _holding(trial, wiring, claims[:half]) + _holding(trial, wiring, claims[half:])


def _only(wiring: Wiring, claims: Iterable[Claim]) -> Wiring:
    kept = set(claims)
    return replace(
        wiring,
        groups={
            name: replace(group, actions=tuple(each for each in group.actions if (name, each) in kept))
            for name, group in wiring.groups.items()
        },
    )


def _randomised(module: nn.Module) -> nn.Module:
    """The module with weights of trained size and no zeros, ones or statistics of nothing."""
    generator = torch.Generator().manual_seed(0)

    def normal(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator, dtype=torch.float64)

    saved = module.state_dict()
    with torch.no_grad():
        for tensor in module.parameters():
            fan = max(tensor[0].numel(), 1) if tensor.dim() > 1 else 1
            tensor.copy_(tensor + 0.3 * normal(tensor) if tensor.dim() < 2 else normal(tensor) / fan**0.5)
        for name, buffer in module.named_buffers():
            if name.endswith("running_mean"):
                buffer.copy_(0.2 * normal(buffer))
            elif name.endswith("running_var"):
                buffer.copy_(torch.exp(0.4 * normal(buffer)))
            elif name in saved and buffer.is_floating_point():
                buffer.add_(0.3 * normal(buffer))
    return module


def _moved(after: Tensor, before: Tensor) -> float:
    """How far numbers moved, relative to the largest; infinite where they are none any more."""
    was = before.isfinite()
    if not was.any():
        return 0.0
    apart = (after - before)[was].abs().max() / before[was].abs().max().clamp(min=1e-300)
    return float(apart) if apart.isfinite() else float("inf")


def _doubled(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


def _cloned(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value

"""A module, run once on the meta device, and its wiring."""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import tree_map_only

from peace_pipeline.symmetry.wiring.tracing.assembling import assemble, cut_as_taken, logical_axes
from peace_pipeline.symmetry.wiring.tracing.heads import as_seen
from peace_pipeline.symmetry.wiring.tracing.tracer import Tracer
from peace_pipeline.symmetry.wiring.tracing.units import distinct
from peace_pipeline.symmetry.wiring.tracing.values import Reading, Values
from peace_pipeline.symmetry.wiring.types import Wiring, WiringMismatch
from peace_pipeline.weights.layers import layers_of
from peace_pipeline.weights.logical import views_of
from peace_pipeline.weights.tensors import TensorInfo, dtype_name
from peace_pipeline.weights.views import Views

Shapes = Mapping[str, tuple[int, ...]]
"""Name → shape."""


def trace(module: nn.Module, *args: Any, **kwargs: Any) -> Wiring:
    """The wiring of a module of your own, by running its ``forward`` once, in evaluation mode, on inputs like
    ``args`` and ``kwargs``.

    Only their shapes and dtypes count: nothing is computed (all tensors are on PyTorch's meta device), so a module
    whose control flow depends on values can't be traced. Operations that are not known are taken to have no symmetry.
    Layers have the names that the module's checkpoint gives: the wiring fits what ``module.state_dict()`` saves.

    Raises:
        WiringMismatch: where the module can't be run so, or has no layers.

    Example:
        >>> wiring = trace(nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2)), torch.zeros(1, 3))
        >>> [group.actions for group in wiring.groups.values() if group.actions]
        [('permute', 'sign')]
    """
    return as_seen(wiring_of(module, [Example(args, kwargs)], {})[0])


@dataclass(frozen=True)
class Example:
    """Inputs that a module takes."""

    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def instead(self, error: Exception) -> Sequence[Example]:
        """What to try where it fails with this error."""
        return []


def wiring_of(
    module: nn.Module,
    examples: Sequence[Example],
    config: Mapping[str, Any],
    shapes: Shapes | None = None,
    names: Mapping[str, str] | None = None,
    values: Values | None = None,
) -> tuple[Wiring, list[Example]]:
    """See :func:`trace`; gives the examples that the module takes, too: it is run on each of them.

    ``config`` is the config.json that stands beside the module's checkpoint, ``shapes`` are of the logical tensors that
    the checkpoint has, ``names`` are those in the file → those in the module, if others. With ``values`` (those of a
    module's constants) the examples count by theirs, too.

    Raises:
        WiringMismatch: where the module can't be run without weights, has no layers, or has other tensors.
    """
    owned = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
    bare: dict[int, Tensor] = {}
    state = {
        name: bare.setdefault(id(tensor), torch.empty_like(tensor, device="meta")) for name, tensor in owned
    }
    names = names or {name: name for name in module.state_dict()}
    for name, tensor in owned:
        if values and (value := values.of(tensor)) is not None and name not in {*names.values()}:
            values.set(state[name], value)
    saved = {name: state[own] for name, own in names.items() if own in state}
    views = views_of(
        [TensorInfo(name, tuple(x.shape), dtype_name(x.dtype)) for name, x in saved.items()], config
    )
    if shapes is not None:
        views = _expected(views, saved, shapes)
    layers = layers_of(replace(view.info, name=name) for name, view in views.items())
    if not layers:
        raise WiringMismatch("no layers")
    traced, taken = _run(module, state, saved, views, examples, values)
    last = len(traced.order)
    order = {
        name: min(traced.order.get(source, last) for source in view.sources) for name, view in views.items()
    }
    unseen = [name for name, used in order.items() if used == last]
    maps = [name for name in unseen if sum(size > 1 for size in views[name].info.shape) > 1]
    vectors = [name for name in unseen if name not in maps]
    read, beside = ({size for name in names for size in views[name].info.shape} for names in (maps, vectors))
    _fix_beside(read, beside, traced)
    wiring = assemble(layers, logical_axes(views, traced.axes), order)
    notes = (f"{_unreached(vectors)}: nothing of their size is claimed to move",) if vectors else ()
    if not any(group.actions for group in wiring.groups.values()):
        notes = (*notes, *_why_fixed(traced))
    return replace(wiring, assumes=(_unreached(maps),) if maps else (), notes=notes), taken


def _fix_beside(read: set[int], beside: set[int], traced: Tracer) -> None:
    """Fix all units that parameters may touch which no input reached: maps, that ``read`` so many (or several such side
    by side), and what stands ``beside`` so many. But not those of heads, between which and their readers nothing else
    stands."""
    every = (axis.units for axes in traced.axes.values() for axis in axes)
    for leaf in distinct(every) if read | beside else ():
        is_read = leaf.size > 1 and any(size % leaf.size == 0 for size in read)
        if (is_read or leaf.size in beside) and not leaf.order.root.grid:
            leaf.fix()


def _why_fixed(traced: Tracer) -> Iterator[str]:
    """Which operations show that units have their places."""
    every = distinct(axis.units for axes in traced.axes.values() for axis in axes if axis.units.size > 1)
    shown = Counter(leaf.order.root.fixed_by for leaf in every)
    if operations := [f"{name} ({count})" for name, count in shown.most_common(4) if name]:
        yield f"units have their places, as these operations of PyTorch show: {', '.join(operations)}"


def _unreached(names: Sequence[str]) -> str:
    """That these parameters do nothing, as far as is known."""
    more = f" and {len(names) - 2} more" if len(names) > 2 else ""
    return f"no input reaches {', '.join(names[:2])}{more}"


def _expected(views: Views, saved: Mapping[str, Tensor], shapes: Shapes) -> Views:
    """The views that a checkpoint has: all but copies.

    Raises:
        WiringMismatch: where it has others.
    """
    own = {name: view for name, view in views.items() if view.info.is_floating}
    had = {id(saved[source]) for name in shapes if name in own for source in own[name].sources}
    for name in own.keys() | shapes.keys():
        is_copy = name in own and all(id(saved[source]) in had for source in own[name].sources)
        if (name in shapes and shapes[name] != own[name].info.shape) if name in own else True:
            raise WiringMismatch(f"{name} is another in the module")
        if name not in shapes and not is_copy:
            raise WiringMismatch(f"{name} is missing")
    return {name: view for name, view in own.items() if name in shapes}


def _run(
    module: nn.Module,
    state: Mapping[str, Tensor],
    saved: Mapping[str, Tensor],
    views: Views,
    examples: Sequence[Example],
    values: Values | None,
) -> tuple[Tracer, list[Example]]:
    """Run a module in evaluation mode on its bare ``state``, of which ``saved`` is what a checkpoint has, and
    ``views`` what its layers have of that, on each of the examples.

    Raises:
        WiringMismatch: where it takes none of them.
    """
    was_training, known = module.training, values or Values()
    once = (
        f"{at}.{key}".lstrip(".")
        for at, part in module.named_modules()
        for key in (*part._parameters, *part._buffers)
    )
    bare = {name: state[name] for name in once if name in state}
    tracer = Tracer(saved, known)
    cut_as_taken(views, tracer.axes)
    module.eval()
    errors = []
    waiting, taken = deque(examples), list[Example]()
    try:
        while waiting:
            example = waiting.popleft()
            drawn = random.getstate()
            try:
                given = tree_map_only(
                    Tensor,
                    lambda x: known.give(x.clone()) if values else torch.empty_like(x, device="meta"),
                    (example.args, dict(example.kwargs)),
                )
                with torch.no_grad(), torch.device("meta"), Reading(known), tracer:
                    outputs = functional_call(module, bare, *given, tie_weights=False)
            except Exception as error:
                errors.append(error)
                waiting.extendleft(reversed(example.instead(error)))
                continue
            taken.append(example)
            if random.getstate() != drawn:
                raise WiringMismatch(f"{type(module).__name__} draws random numbers")
            for tensor in tensors_within(outputs):
                tracer.fix(tensor)
    finally:
        module.train(was_training)
    if not taken and not errors:
        raise WiringMismatch(f"no inputs are known that {type(module).__name__} takes")
    if not taken:
        raise WiringMismatch(f"{type(module).__name__} can't be traced: {errors[0]}") from errors[0]
    return tracer, taken


_INNER = {"past_key_values", "cache_params", "state", "mems", "hidden_states", "attentions", "cross_attentions",
          "encoder_last_hidden_state", "encoder_hidden_states", "encoder_attentions", "decoder_hidden_states",
          "decoder_attentions", "image_hidden_states", "audio_hidden_states", "video_hidden_states"}  # fmt: skip
"""What modules give beside their outputs: states in whose coordinates anything may happen."""


def tensors_within(outputs: Any) -> Iterator[Tensor]:
    """The tensors in what a module returns."""
    if isinstance(outputs, Tensor):
        yield outputs
    elif isinstance(outputs, Mapping):
        yield from tensors_within([value for key, value in outputs.items() if key not in _INNER])
    elif isinstance(outputs, list | tuple | set):
        for item in outputs:
            yield from tensors_within(item)
    elif hasattr(outputs, "__dict__"):
        yield from tensors_within(list(vars(outputs).values()))

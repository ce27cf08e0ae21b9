"""A module, run once on the meta device, and its wiring."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import tree_map_only

from peace_pipeline.symmetry.wiring.tracing.assembling import assemble, logical_axes
from peace_pipeline.symmetry.wiring.tracing.tracer import Tracer
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
    return wiring_of(module, args, kwargs, {})


def wiring_of(
    module: nn.Module,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    config: Mapping[str, Any],
    shapes: Shapes | None = None,
    names: Mapping[str, str] | None = None,
) -> Wiring:
    """See :func:`trace`; ``config`` is the config.json that stands beside the module's checkpoint, ``shapes`` are of
    the logical tensors that the checkpoint has, ``names`` are those in the file → those in the module, if others.

    Raises:
        WiringMismatch: where the module can't be run without values, has no layers, or has other tensors.
    """
    owned = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
    bare: dict[int, Tensor] = {}
    state = {
        name: bare.setdefault(id(tensor), torch.empty_like(tensor, device="meta")) for name, tensor in owned
    }
    names = names or {name: name for name in module.state_dict()}
    saved = {name: state[own] for name, own in names.items() if own in state}
    views = views_of(
        [TensorInfo(name, tuple(x.shape), dtype_name(x.dtype)) for name, x in saved.items()], config
    )
    if shapes is not None:
        views = _expected(views, saved, shapes)
    layers = layers_of(replace(view.info, name=name) for name, view in views.items())
    if not layers:
        raise WiringMismatch("no layers")
    traced = _run(module, state, saved, args, kwargs)
    last = len(traced.order)
    order = {
        name: min(traced.order.get(source, last) for source in view.sources) for name, view in views.items()
    }
    return assemble(layers, logical_axes(views, traced.axes), order)


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
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> Tracer:
    """Run a module in evaluation mode on its bare ``state``, of which ``saved`` is what a checkpoint has."""
    was_training = module.training
    args, kwargs = tree_map_only(Tensor, lambda x: torch.empty_like(x, device="meta"), (args, dict(kwargs)))
    tracer = Tracer(saved)
    module.eval()
    try:
        with torch.no_grad(), torch.device("meta"), tracer:
            outputs = functional_call(module, dict(state), tuple(args), dict(kwargs))
    except WiringMismatch:
        raise
    except Exception as error:
        raise WiringMismatch(f"{type(module).__name__} can't be traced: {error}") from error
    finally:
        module.train(was_training)
    for tensor in _within(outputs):
        tracer.fix(tensor)
    return tracer


def _within(outputs: Any) -> Iterator[Tensor]:
    """The tensors in what a module returns.

    Raises:
        WiringMismatch: where there may be some that can't be seen.
    """
    if isinstance(outputs, Tensor):
        yield outputs
    elif isinstance(outputs, Mapping):
        yield from _within(list(outputs.values()))
    elif isinstance(outputs, list | tuple):
        for item in outputs:
            yield from _within(item)
    elif outputs is not None and not isinstance(outputs, int | float | str):
        raise WiringMismatch(f"what is in a {type(outputs).__name__} is not known")

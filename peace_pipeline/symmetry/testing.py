"""Holding a wiring against what a network computes: every action that it claims, drawn at random, keeps the function.

Give it your own module with your own wiring, or any function of a batch of networks: their outputs, their embeddings.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.func import functional_call
from torch.utils._pytree import tree_leaves

from peace_pipeline.symmetry.group.actions import act
from peace_pipeline.symmetry.group.elements import ALL, Strength, Tensors, random_element
from peace_pipeline.symmetry.wiring.types import Wiring
from peace_pipeline.weights.logical import views_of
from peace_pipeline.weights.tensors import TensorInfo, dtype_name

STRENGTHS: dict[str, Strength] = {
    "permutation": Strength(heads=False),
    "heads": Strength(permute=False),
    "scale": Strength(permute=False, heads=False, decades=ALL.decades),
    "signs": Strength(permute=False, heads=False, signs=True),
    "mix": Strength(permute=False, heads=False, mix=True),
    "all": ALL,
}
"""The kinds of random elements that are drawn, each alone and then all at once."""
TOLERANCE = {torch.float64: 1e-5, torch.float32: 1e-3}
"""How far, in standard deviations, rounding alone may move what a network computes."""

Function = Callable[[Tensors], torch.Tensor]
"""Tensors of networks, by name (networks, *shape) → values (rows, *shape), of which a row is a network or an input."""


def assert_invariant(
    function: Function, wiring: Wiring, tensors: Tensors, *, seed: int = 0
) -> dict[str, float]:
    """Assert that no action of a wiring moves a function of the networks' ``tensors`` (networks, *shape), which are of
    the names and shapes in the wiring and all of one dtype; gives the :func:`movements`.

    Raises:
        AssertionError: where max|Δ| / std (see :func:`movement`) is more than the dtype's ``TOLERANCE`` or is no
            number; where the wiring claims no action, which would show nothing.
    """
    dtype = next(tensor.dtype for tensor in tensors.values() if tensor.is_floating_point())
    found = movements(function, wiring, tensors, seed=seed)
    assert found, "the wiring claims no action: there is nothing to hold it against"
    assert all(moved <= TOLERANCE[dtype] for moved in found.values()), (
        f"max|Δ|/std {found} exceeds {TOLERANCE[dtype]:g} in {dtype_name(dtype)}"
    )
    return found


def assert_module_invariant(module: nn.Module, wiring: Wiring, *args: Any, **kwargs: Any) -> dict[str, float]:
    """Assert that no action of a wiring moves what a module, in evaluation mode, gives for inputs: two examples at
    least, in the module's dtype (float64 shows the most). All outputs count, each (examples, *shape).

    Raises:
        AssertionError: where an action moves the outputs.
        UnsupportedFormat: where a parameter is computed from others (a weight norm).

    Example:
        >>> from peace_pipeline.symmetry.wiring.tracing import trace
        >>> module = nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 2)).double()
        >>> inputs = torch.randn(16, 3, dtype=torch.float64)
        >>> assert_module_invariant(module, trace(module, inputs), inputs).keys()
        dict_keys(['permutation', 'scale', 'all'])

        A wiring that claims more than the module has is caught: ReLU keeps scales, tanh doesn't.

        >>> wiring = trace(module, inputs)
        >>> module[1] = nn.Tanh()
        >>> assert_module_invariant(module, wiring, inputs)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        AssertionError: max|Δ|/std {'permutation': ..., 'scale': ..., 'all': ...} exceeds 1e-05 in float64
    """
    state = module.state_dict()
    infos = (TensorInfo(name, tuple(x.shape), dtype_name(x.dtype)) for name, x in state.items())
    views = {name: (view, view.sources[0]) for name, view in views_of(infos, {}).items()}

    def outputs(tensors: Tensors) -> torch.Tensor:
        new = dict(state)
        for name, (view, source) in views.items():
            new[source] = view.put(new[source], tensors[name][0])
        with torch.no_grad():
            found = tree_leaves(functional_call(module, new, args, kwargs))
        return torch.cat([leaf.reshape(len(leaf), -1) for leaf in found if isinstance(leaf, torch.Tensor)], 1)

    was_training = module.training
    module.eval()
    try:
        tensors = {name: view.get(state[source])[None] for name, (view, source) in views.items()}
        return assert_invariant(outputs, wiring, tensors)
    finally:
        module.train(was_training)


def movements(function: Function, wiring: Wiring, tensors: Tensors, *, seed: int = 0) -> dict[str, float]:
    """Kind of element → the largest movement under a random one. Of those in ``STRENGTHS``, kinds are left out that the
    wiring doesn't have, or whose element happens to change nothing (the order of two heads, say)."""
    before = function(tensors)
    found = {}
    for kind, strength in STRENGTHS.items():
        if not has_any(wiring, strength):
            continue
        new = acted(wiring, tensors, strength, seed)
        if any(not torch.equal(value, new[name]) for name, value in tensors.items()):
            found[kind] = float(movement(before, function(new)).max())
    return found


def movement(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """How far values (rows, *shape) moved, each: |after − before| / std, with the :func:`spread` of those before.

    An absolute difference would prove nothing: the outputs of an untrained network barely vary.
    """
    return (after - before).abs() / spread(before)


def spread(values: torch.Tensor) -> torch.Tensor:
    """The mean over coordinates of each coordinate's standard deviation over the rows (rows, *shape).

    Raises:
        ValueError: where there are fewer than two rows.
    """
    if len(values) < 2:
        raise ValueError("a spread is had from two rows at least")
    return values.std(0).mean()


def has_any(wiring: Wiring, strength: Strength) -> bool:
    """Whether a wiring has actions that elements of this strength are drawn from."""
    return any(strength.sampled(wiring, group) for group in wiring.groups.values())


def acted(wiring: Wiring, tensors: Tensors, strength: Strength, seed: int | torch.Generator) -> Tensors:
    """Networks' tensors (networks, *shape) after a random element for each network acted on them."""
    networks, dtype = next((len(x), x.dtype) for x in tensors.values() if x.is_floating_point())
    generator = seed if isinstance(seed, torch.Generator) else torch.Generator().manual_seed(seed)
    return act(wiring, tensors, random_element(wiring, networks, generator, strength, dtype=dtype))

"""The registry of operations: what each one of PyTorch (ATen) does to labels. One that is not here fixes all that it
touches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from peace_pipeline.symmetry.wiring.tracing.labels import Label

Arguments = dict[str, Any]
"""The arguments of an operation by name; tensors are replaced by their labels."""
Operation = Callable[[Arguments, Sequence[int]], Label | list[Label]]
"""Arguments and the shape of the (first) result → its label, or those of all results."""
OPERATIONS: dict[str, Operation] = {}

CREATED = {"zeros", "ones", "full", "zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_full",
           "empty", "empty_like", "new_empty", "scalar_tensor"}  # fmt: skip
"""Operations whose result has one value everywhere, whatever is in the tensor that gives the shape (or none yet)."""

_Own = TypeVar("_Own", bound=Operation)


def operation(*names: str) -> Callable[[_Own], _Own]:
    """Decorator: what ATen operations with these names do."""

    def add(does: _Own) -> _Own:
        OPERATIONS.update(dict.fromkeys(names, does))
        return does

    return add

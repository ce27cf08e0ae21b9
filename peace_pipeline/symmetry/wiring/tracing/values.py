"""Values of tensors on the meta device, as far as they follow from a module's inputs and constants alone.

Masks, positions and tokens decide what a module does: how many places stand for an image, which of them look at which.
Weights have no values here, so what depends on them can't be followed.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.weak import WeakTensorKeyDictionary

from peace_pipeline.symmetry.wiring.types import WiringMismatch

LARGEST = 1 << 22
"""How many entries a tensor may have whose values are kept."""
_ASKS = {"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive", "equal",
         "repeat_interleave", "bincount", "is_nonzero"}  # fmt: skip
"""Operations whose result, or its shape, is a matter of values."""
_RANDOM = {"rand", "randn", "randint", "randperm", "rand_like", "randn_like", "randint_like", "bernoulli",
           "multinomial", "normal", "poisson", "uniform_", "normal_", "random_", "bernoulli_",
           "exponential_", "trunc_normal_"}  # fmt: skip
_NOT_YET = {"empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided"}
_CPU, _META = torch.device("cpu"), torch.device("meta")


class Values(TorchDispatchMode):
    """The values of tensors that were made while this was at work, or that were :meth:`given <give>`."""

    def __init__(self) -> None:
        super().__init__()
        self._known: MutableMapping[Tensor, Tensor] = WeakTensorKeyDictionary()
        self._placed: MutableMapping[Tensor, Tensor] = WeakTensorKeyDictionary()

    def give(self, tensor: Tensor) -> Tensor:
        """A tensor on the meta device that has the values of another."""
        placed = self._placed.get(tensor)
        if placed is None or placed.shape != tensor.shape:
            placed = torch.empty_like(tensor, device=_META)
            self._placed[tensor] = placed
        self.set(placed, tensor)
        return placed

    def set(self, tensor: Tensor, value: Tensor) -> None:
        """Say what a tensor on the meta device holds."""
        if value.numel() <= LARGEST:
            self._known[tensor] = value

    def of(self, tensor: Tensor) -> Tensor | None:
        """What is known to be in a tensor."""
        return self._known.get(tensor) if tensor.is_meta else tensor

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """See :class:`TorchDispatchMode`."""
        args, kwargs = self.placed(func, args, kwargs or {})
        return self.run(func, args, kwargs)

    def placed(
        self, func: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of an operation with all tensors on the meta device, if any is, and masks of places that are
        looked up or written to as their indices."""
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if any(tensor.is_meta for tensor in tensors):
            if func._schema.is_mutable and not tensors[0].is_meta:
                raise WiringMismatch("it writes into a tensor elsewhere")
            args, kwargs = tree_map_only(Tensor, self._on_meta, (args, dict(kwargs)))
        base = _base(func)
        if base in ("index", "index_put", "index_put_") and len(args) > 1:
            args = (args[0], self._indices(args[1]), *args[2:])
        return args, dict(kwargs)

    def run(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The results of an operation, and their values where they follow.

        Raises:
            WiringMismatch: where what it does depends on values that are not known.
        """
        base, tensors = _base(func), _tensors((args, kwargs))
        to_cpu = base == "_to_copy" and kwargs.get("device") == _CPU and tensors and tensors[0].is_meta
        if tensors and not any(tensor.is_meta for tensor in tensors):
            if kwargs.get("device") == _META and base not in _NOT_YET:
                return self.give(tensors[0].to(kwargs.get("dtype") or tensors[0].dtype))
            return func(*args, **kwargs)
        known = base not in _RANDOM and base not in _NOT_YET and all(t in self._known for t in tensors)
        if to_cpu:
            return (
                self._value_of(func, args, kwargs) if known else func(*args, **(kwargs | {"device": _META}))
            )
        if base in _ASKS and not (base == "repeat_interleave" and not known and _gives_size(kwargs)):
            if not known:
                raise WiringMismatch("what it does depends on values that its weights decide")
            return tree_map_only(Tensor, self.give, self._value_of(func, args, kwargs))
        results = func(*args, **kwargs)
        made = _tensors(results)
        if func._schema.is_mutable:
            self._change(func, args, kwargs, known)
        elif known and sum(tensor.numel() for tensor in made) <= LARGEST:
            with suppress(Exception):
                values = _tensors(self._value_of(func, args, kwargs))
                for tensor, value in zip(made, values, strict=True):
                    self.set(tensor, value)
        return results

    def _change(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], known: bool) -> None:
        """What an operation writes; what it writes over is not known any more where it isn't known."""
        target = args[0] if args and isinstance(args[0], Tensor) else None
        if target is None or target not in self._known:
            return
        if known:
            with suppress(Exception):
                self._value_of(func, args, kwargs)
                return
        memory = self._known[target].untyped_storage()._cdata
        for tensor, value in list(self._known.items()):
            if value.untyped_storage()._cdata == memory:
                del self._known[tensor]

    def _value_of(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        args, kwargs = tree_map_only(Tensor, lambda tensor: self._known[tensor], (args, kwargs))
        return func(*args, **(kwargs | {"device": _CPU} if "device" in kwargs else kwargs))

    def _on_meta(self, tensor: Tensor) -> Tensor:
        return tensor if tensor.is_meta else self.give(tensor)

    def _indices(self, indices: Any) -> list[Tensor | None]:
        found: list[Tensor | None] = []
        for index in indices:
            if index is None or index.dtype not in (torch.bool, torch.uint8):
                found.append(index)
                continue
            value = self.of(index)
            if value is None:
                raise WiringMismatch("what it looks up depends on values that its weights decide")
            found += [self.give(each) if index.is_meta else each for each in value.nonzero(as_tuple=True)]
        return found


class Reading(TorchFunctionMode):
    """Lets a module read known values, and make tensors of numbers, as if it ran on a device that has values."""

    def __init__(self, values: Values) -> None:
        super().__init__()
        self._values = values

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """See :class:`TorchFunctionMode`."""
        kwargs = kwargs or {}
        if func in (Tensor.tolist, Tensor.numpy, Tensor.__array__, Tensor.__repr__, Tensor.__format__):
            value = self._values.of(args[0])
            if value is None:
                raise WiringMismatch("what it does depends on values that its weights decide")
            return func(value, *args[1:], **kwargs)
        if func in (Tensor.__getitem__, Tensor.__setitem__):
            args = (args[0], self._listed(args[1]), *args[2:])
        if func in (torch.tensor, torch.as_tensor, torch.asarray) and not _tensors((args, kwargs)):
            return self._values.give(func(*args, **(kwargs | {"device": _CPU})))
        return func(*args, **kwargs)

    def _listed(self, index: Any) -> Any:
        """An index with the lists in it as tensors."""
        if isinstance(index, tuple):
            return tuple(self._listed(each) for each in index)
        return self._values.give(torch.tensor(index, device=_CPU)) if isinstance(index, list) else index


def _base(func: Any) -> str:
    return func._schema.name.removeprefix("aten::")


def _gives_size(kwargs: Mapping[str, Any]) -> bool:
    return kwargs.get("output_size") is not None


def _tensors(values: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]

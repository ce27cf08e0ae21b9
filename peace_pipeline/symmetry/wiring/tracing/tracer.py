"""Running a module without its values, to see what becomes of each axis of its parameters."""

from __future__ import annotations

import time
from collections.abc import Mapping, MutableMapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.weak import WeakTensorKeyDictionary

from peace_pipeline.symmetry.wiring.tracing import contractions, operations, shaping  # noqa: F401 (they register)
from peace_pipeline.symmetry.wiring.tracing.labels import (
    Label,
    ParameterAxis,
    as_value,
    fix,
    is_parameter,
    of_parameter,
    plain,
    restrict_without_heads,
    settled,
    shape_of,
)
from peace_pipeline.symmetry.wiring.tracing.registry import CREATED, OPERATIONS, Arguments
from peace_pipeline.symmetry.wiring.tracing.shaping import STACKS_STAY, cuts_units
from peace_pipeline.symmetry.wiring.tracing.units import FOLLOWED
from peace_pipeline.symmetry.wiring.tracing.values import Values
from peace_pipeline.symmetry.wiring.tracing.writing import Shown, overwritten, written_at
from peace_pipeline.symmetry.wiring.types import WiringMismatch

SECONDS = 30.0
"""How long a module may compute."""


class Tracer(TorchDispatchMode):
    """Follows the operations on a module's tensors (Paszke et al. 2019: what PyTorch's dispatcher sees, whatever
    Python did to call them), and keeps a label for each result.

    ``axes`` are those of each parameter and statistic, by name; ``order`` its place among the first uses.
    """

    def __init__(self, state: Mapping[str, Tensor], values: Values) -> None:
        super().__init__()
        self._values = values
        self.axes: dict[str, list[ParameterAxis]] = {}
        self.order: dict[str, int] = {}
        self._labels: MutableMapping[Tensor, Label] = WeakTensorKeyDictionary()
        self._lost: MutableMapping[Tensor, list[Label]] = WeakTensorKeyDictionary()
        self._names: MutableMapping[Tensor, list[str]] = WeakTensorKeyDictionary()
        self._views: MutableMapping[Tensor, Shown] = WeakTensorKeyDictionary()
        self._deadline = time.process_time() + SECONDS
        for name, tensor in state.items():
            self._names.setdefault(tensor, []).append(name)
            if tensor in self._labels:
                self.axes[name] = self.axes[self._names[tensor][0]]
            else:
                self._labels[tensor], self.axes[name] = of_parameter(tensor.shape)

    def fix(self, output: Tensor) -> None:
        """The places of a result of the module have a meaning."""
        FOLLOWED.set("")
        fix(self._label(output))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """See :class:`TorchDispatchMode`."""
        if time.process_time() > self._deadline:
            raise WiringMismatch("the module runs for too long")
        args, kwargs = self._values.placed(func, args, kwargs or {})
        schema = func._schema
        usual = {each.name: each.default_value for each in schema.arguments if each.has_default_value()}
        given = usual | dict(zip((each.name for each in schema.arguments), args, strict=False)) | kwargs
        tensors = _tensors(list(given.values()))
        for tensor in tensors:
            for name in self._names.get(tensor, ()):
                self.order.setdefault(name, len(self.order))
        results = self._values.run(func, args, kwargs)
        base = schema.name.removeprefix("aten::")
        FOLLOWED.set(base)
        if schema.is_mutable and not base.startswith("native_"):
            self._change(base, given, tensors, results)
        else:
            self._take(base, given, tensors, results)
        return results

    def _take(self, base: str, given: Arguments, tensors: list[Tensor], results: Any) -> None:
        """Label the results of an operation that changes nothing. What it does to labels counts where it is used."""
        made = _tensors(results)
        known = {id(tensor) for tensor in tensors}
        labels = self._results(base, given, tensors, made) if made else []
        for tensor, label in zip(made, labels or (), strict=False):
            if id(tensor) not in known or self._label(tensor) != label:
                self._labels[tensor] = label
            if len(tensors) == 1 and id(tensor) not in known and _storage(tensor) == _storage(tensors[0]):
                self._views[tensor] = Shown(tensors[0], base, given)
        for tensor in made[len(labels or ()) :]:
            self._lost[tensor] = [self._label(source) for source in tensors]

    def _results(
        self, base: str, given: Arguments, tensors: list[Tensor], made: list[Tensor]
    ) -> list[Label] | None:
        """The labels of an operation's results (the first of them); ``None`` where it is not known."""
        if base in CREATED:
            return [plain(tensor.shape, uniform=True) for tensor in made]
        labels = [self._label(tensor) for tensor in tensors]
        if base != "expand" and not any(_matters(label) for label in labels):
            return [plain(tensor.shape) for tensor in made]
        if base not in OPERATIONS:
            return None
        if base not in STACKS_STAY:
            self._settle(tensors)
        named = {name: self._labelled(value) for name, value in given.items()} | {"name": base}
        if base == "index" and cuts_units(named):
            return None
        given_back = OPERATIONS[base](named, made[0].shape)
        found = given_back if isinstance(given_back, list) else [given_back]
        for tensor, own in zip(made, found, strict=False):
            if shape_of(own) != tuple(tensor.shape):
                raise WiringMismatch(f"{base} gives another shape than it was thought to")
            restrict_without_heads(own)
        return found

    def _change(self, base: str, given: Arguments, tensors: list[Tensor], results: Any) -> None:
        """An operation that writes into a tensor, and so into those of which it shows a part. Where others show the
        same memory, or it is a parameter's, all are fixed."""
        target = given.get("self")
        is_scaled = base in ("mul_", "div_") and not given.get("rounding_mode")
        if is_scaled and target in self._names and not isinstance(given["other"], Tensor):
            return  # a parameter that is rescaled stays what it is
        chain = self._shown_by(target) if isinstance(target, Tensor) else []
        known = {id(tensor) for tensor in chain}
        others = [
            other
            for other in self._labels
            if isinstance(target, Tensor) and id(other) not in known and _storage(other) == _storage(target)
        ]
        self._settle([*tensors, *chain, *others])
        written = None
        if chain and base.endswith("_") and not others and not any(tensor in self._names for tensor in chain):
            written = self._written(base, given, tensors, chain[0])
        if written is None:
            touched = [*tensors, *chain, *others, *_tensors(results)]
            for tensor in touched:
                fix(self._label(tensor))
            self._labels.update((tensor, plain(tensor.shape)) for tensor in touched)
            return
        self._labels[chain[0]] = written
        for tensor, whole in pairwise(chain):
            self._labels[whole] = overwritten(self._views[tensor], self._label(whole), self._labels[tensor])

    def _written(self, base: str, given: Arguments, tensors: list[Tensor], target: Tensor) -> Label | None:
        """The label of a tensor that an operation wrote into; ``None`` where that is not known."""
        if base == "index_put_":
            return self._put(given)
        if base == "copy_":
            base, given = "clone", {"self": given["src"]}
            tensors = _tensors(given["self"])
            if tensors and tensors[0].shape != target.shape:
                base, given = "expand", given | {"size": list(target.shape)}
        elif base in ("fill_", "zero_"):
            base, tensors = "full", []
        found = self._results(base.rstrip("_"), given, tensors, [target])
        return found[0] if found else None

    def _put(self, given: Arguments) -> Label | None:
        """Values that are written at some places along the first dimensions."""
        whole, values, indices = self._label(given["self"]), self._label(given["values"]), given["indices"]
        if given.get("accumulate") or any(index is None or index.dtype == torch.bool for index in indices):
            return None
        for index in indices:
            fix(self._label(index))
        width = max(index.dim() for index in indices)
        rest = len(whole) - len(indices)
        if values.__len__() not in (0, rest, rest + width):
            return None
        beside = values[-rest:] if rest and values else ((),) * rest
        fix(values[: len(values) - rest])
        return written_at(whole, as_value(beside), len(indices))

    def _shown_by(self, tensor: Tensor) -> list[Tensor]:
        """A tensor, that of which it shows a part, and so on."""
        chain = [tensor]
        while shown := self._views.get(chain[-1]):
            chain.append(shown.of)
        return chain

    def _settle(self, tensors: list[Tensor]) -> None:
        self._labels.update((tensor, settled(self._label(tensor))) for tensor in tensors)

    def _labelled(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return self._label(value)
        if isinstance(value, list | tuple) and any(isinstance(item, Tensor) for item in value):
            return [self._label(item) if isinstance(item, Tensor) else item for item in value]
        return value

    def _label(self, tensor: Tensor) -> Label:
        for label in self._lost.get(tensor, ()):
            fix(label)
        return self._labels.setdefault(tensor, plain(tensor.shape))


def _matters(label: Label) -> bool:
    return is_parameter(label) or any(f.units or f.uniform or f.stack for dim in label for f in dim)


def _tensors(values: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata

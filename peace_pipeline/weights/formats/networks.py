"""Which of the tensors in a pickled checkpoint are the network, and what a state dictionary would call them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from peace_pipeline.weights.errors import DuplicateTensor, ExcessiveSize
from peace_pipeline.weights.formats.pickles import Global, Items, Object
from peace_pipeline.weights.formats.storages import Quantised, Tensor, Unreadable, View

MAX_NAME = 1000
"""Characters of a tensor's name."""

MAX_DEPTH = 100
"""Of modules within modules."""

_MAX_NESTING = 8
"""Of dictionaries around a network."""

_NETWORKS = (
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "weights",
    "net",
    "network",
    "module",
    "params_ema",
    "params",
    "ema",
)
"""What training scripts call the network in a checkpoint; the first that is there is it."""

_TRAINING = re.compile(
    r"optim|sched|scaler|rng|hyper|hparams|callback|loops|loss|criterion|metric", re.IGNORECASE
)
_OPTIMIZER = {"state", "param_groups"}
_SHOWN = 8

Named = dict[str, "Found"]
TensorOf = Callable[[Any], Tensor | Unreadable | None]


class Found(NamedTuple):
    """A tensor of a network, with the epsilon that its module says it has."""

    tensor: Tensor | Unreadable
    eps: float | None = None


@dataclass(frozen=True)
class Module:
    """What belongs to a module, by its own names: tensors in the order of a state dictionary, modules, an epsilon."""

    tensors: Mapping[str, Any]
    children: Mapping[str, Any]
    eps: float | None = None


ModuleOf = Callable[[Object], Module | None]


def network(content: Any, tensor_of: TensorOf, module_of: ModuleOf) -> Named:
    """The network's tensors, of a state dictionary, a training checkpoint around one, or a whole module.

    A dictionary that holds several networks gives them all, each under its key. What optimisers and the like keep
    is left out, ``module.`` before every name and ``_orig_mod.`` in any are taken away, and a tensor that is there
    under several names is listed under the first.

    Raises:
        DuplicateTensor: where two tensors have one name.
        ExcessiveSize: where names are longer, or modules nested deeper, than any network's.
    """
    return _first_names(_short_names(_Search(tensor_of, module_of).network(content)))


def described(content: Any) -> str:
    """What there is instead of a network, in a few words."""
    if isinstance(content, Items):
        keys = [f"{key[:40]!r}" for key in content[: 2 * _SHOWN : 2] if isinstance(key, str)]
        return f"a dictionary of {', '.join(keys) or 'nothing named'}" + (
            " and more" if len(content) > 16 else ""
        )
    if isinstance(content, Object) and isinstance(content.maker, Global):
        return f"an object of {content.maker.path[:100]}"
    return f"a {type(content).__name__}"


def attributes(record: Object) -> Items:
    """Names and values of what an object keeps."""
    state = record.state
    if isinstance(state, tuple) and len(state) == 2:  # with slots
        state = state[0]
    if state is None and record.maker == Global("torch.fx.graph_module.reduce_graph_module"):
        state = record.arguments[0] if isinstance(record.arguments, tuple) and record.arguments else None
    return state if isinstance(state, Items) else Items()


def named(items: Any) -> dict[str, Any]:
    """The items of a dictionary whose keys are texts or numbers.

    Raises:
        DuplicateTensor: where one is there twice.
    """
    result: dict[str, Any] = {}
    for key, value in _pairs(items):
        if type(key) is int and abs(key) < 2**63:
            key = str(key)
        if type(key) is not str:
            continue
        if len(key) > MAX_NAME:
            raise ExcessiveSize(f"a name of {len(key):,} characters")
        if key in result:
            raise DuplicateTensor(f"{key[:100]!r} is there twice")
        result[key] = value
    return result


def python_module(record: Object) -> Module | None:
    """A pickled ``torch.nn.Module``; none where it is something else."""
    own = named(attributes(record))
    if not isinstance(own.get("_parameters"), Items) or not isinstance(own.get("_modules"), Items):
        return None
    passing = own.get("_non_persistent_buffers_set")
    passing = {name for name in passing if type(name) is str} if type(passing) is list else set()
    buffers = {name: value for name, value in named(own.get("_buffers")).items() if name not in passing}
    eps = own.get("eps")
    return Module(
        named(own["_parameters"]) | buffers, named(own["_modules"]), eps if type(eps) is float else None
    )


def _pairs(items: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(items, Items):
        return zip(items[::2], items[1::2], strict=True)
    return iter(())


class _Search:
    def __init__(self, tensor_of: TensorOf, module_of: ModuleOf) -> None:
        self.tensor_of, self.module_of = tensor_of, module_of
        self.seen: set[int] = set()
        """Ids of the objects visited: each gives its tensors once, wherever it is found again."""

    def network(self, value: Any, nesting: int = 0) -> Named:
        if nesting > _MAX_NESTING or not isinstance(value, Items | Object) or not self._is_new(value):
            return {}
        module = self.module_of(value) if isinstance(value, Object) else None
        if module:
            found: Named = {}
            self._add_module(found, module, "", 0)
            return found
        items = named(_items(value))
        if items.keys() >= _OPTIMIZER:
            return {}
        for key in _NETWORKS:
            found = self.network(items.get(key), nesting + 1)
            if found:
                return found
        tensors = {name: Found(tensor) for name, item in items.items() if (tensor := self.tensor_of(item))}
        if any(_is_weight(found.tensor) for found in tensors.values()):
            return tensors
        return self._parts(items, nesting) or tensors

    def _parts(self, items: dict[str, Any], nesting: int) -> Named:
        """Networks under keys of any name; a single one needs none."""
        parts = {
            key: part
            for key, item in items.items()
            if not _TRAINING.search(key) and (part := self.network(item, nesting + 1))
        }
        if len(parts) == 1:
            return next(iter(parts.values()))
        return {
            _joined(f"{key}.", name): found for key, part in parts.items() for name, found in part.items()
        }

    def _add_module(self, found: Named, module: Module, prefix: str, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise ExcessiveSize(f"modules nested more than {MAX_DEPTH} deep")
        carrier = "running_var" if "running_var" in module.tensors else "weight"
        for name, value in module.tensors.items():
            if tensor := self.tensor_of(value):
                found[_joined(prefix, name)] = Found(tensor, module.eps if name == carrier else None)
        for name, value in module.children.items():
            if isinstance(value, Object) and self._is_new(value) and (child := self.module_of(value)):
                self._add_module(found, child, _joined(prefix, f"{name}."), depth + 1)

    def _is_new(self, value: Any) -> bool:
        new = id(value) not in self.seen
        self.seen.add(id(value))
        return new


def _items(value: Items | Object) -> Items:
    """The items of a dictionary, also of a class of its own; else an object's attributes."""
    if isinstance(value, Items):
        return value
    return value.items or attributes(value)


def _is_weight(tensor: Tensor | Unreadable) -> bool:
    return isinstance(tensor, Unreadable) or bool(tensor.shape and tensor.dtype.is_floating_point)


def _joined(prefix: str, name: str) -> str:
    if len(prefix) + len(name) > MAX_NAME:
        raise ExcessiveSize(f"a name of more than {MAX_NAME:,} characters")
    return prefix + name


def _short_names(found: Named) -> Named:
    """Without what ``torch.compile`` and data parallelism put into names."""
    names = {name: re.sub(r"(^|\.)_orig_mod\.", r"\1", name) for name in found}
    if all(name.startswith("module.") for name in names.values()):
        names = {name: short.removeprefix("module.") for name, short in names.items()}
    result = {names[name]: tensor for name, tensor in found.items()}
    if len(result) < len(found):
        raise DuplicateTensor("two tensors have one name without _orig_mod.")
    return result


def _first_names(found: Named) -> Named:
    seen: set[View | Quantised | int] = set()
    result: Named = {}
    for name, item in found.items():
        tensor = item.tensor
        identity = tensor if isinstance(tensor, View | Quantised) else id(tensor)
        if identity not in seen:
            seen.add(identity)
            result[name] = item
    return result

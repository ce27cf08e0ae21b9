"""Which of the tensors in a pickled checkpoint are the network, and what a state dictionary would call them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from peace_pipeline.weights.errors import DuplicateTensor, ExcessiveSize
from peace_pipeline.weights.formats.pickles import MAX_OPCODES, Global, Items, Object
from peace_pipeline.weights.formats.storages import Array, Quantised, Tensor, Unreadable, View
from peace_pipeline.weights.wrapper_names import unwrapped

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

_AVERAGES = re.compile(r"(.*_)?ema(_.*)?", re.IGNORECASE)
"""Of these keys, those of averages over training of the network beside them."""
_TRAINING = re.compile(
    r"opt$|optim|sched|scaler|rng|hyper|hparams|callback|loops|loss|criterion|metric", re.IGNORECASE
)
_DATA = re.compile(r"replay|buffer|dataset|batch|memory|cache|queue|history", re.IGNORECASE)
"""What training scripts keep beside a network that is none."""
_OF_LAYERS = re.compile(r"(.*[._])?((weight|bias|kernel|embedding)s?|w)\d*([._].*)?", re.IGNORECASE)
"""Names of which a network beside another has one at least; arrays of statistics have none."""
_SAMPLES = re.compile(
    r"(x|y|data|inputs?|targets?|labels?|samples?)([_.-]?(train|test|val|valid|validation))?", re.I
)
"""Names under which arrays are data, where all of a dictionary's are called so."""
_ESTIMATORS, _LINEAR = "sklearn.", "coef_"
"""Objects that keep what they were fitted to, but for linear models, which keep layers."""
_OPTIMIZER = {"state", "param_groups"}
_SHOWN = 8
_MAX_PASSING = 100
"""Buffers of one module that its state dictionary leaves out."""


@dataclass(frozen=True)
class Limits:
    """What is looked at in one file: ``objects`` (tensors and modules) and ``items`` of dictionaries at most."""

    objects: int = 250_000
    items: int = MAX_OPCODES


LIMITS = Limits()


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
    is_turned: bool = False
    """Whether its matrices are (in, out)."""


NamedItems = Callable[[Any], dict[str, Any]]
"""What a dictionary holds by name."""

ModuleOf = Callable[[Object, NamedItems], Module | None]
"""What an object is as a module; none where it is something else."""


def network(
    content: Any, tensor_of: TensorOf, module_of: ModuleOf, limits: Limits = LIMITS
) -> tuple[Named, int]:
    """The network's tensors, of a state dictionary, a training checkpoint around one, or a whole module; and the bytes
    of its averages over training and other copies beside it, which are left out.

    A dictionary that holds several networks, or some beside tensors, gives them all, each under its key. What
    optimisers and the like keep is left out, what wrappers put into names is taken away, and a tensor that is there
    under several names is listed under the first.

    Raises:
        DuplicateTensor: where two tensors have one name.
        ExcessiveSize: where names are longer, or modules nested deeper, than any network's; beyond ``limits``.
    """
    search = _Search(tensor_of, module_of, limits)
    found = _first_names(_short_names(search.network(content)))
    return found, search.copied


def are_data(names: Collection[str]) -> bool:
    """Whether arrays are called what people call the data that they train on (``X``, ``y_train``), all of them."""
    return bool(names) and all(map(_SAMPLES.fullmatch, names))


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


def python_module(record: Object, named: NamedItems) -> Module | None:
    """A pickled ``torch.nn.Module``."""
    own = named(attributes(record))
    if not isinstance(own.get("_parameters"), Items) or not isinstance(own.get("_modules"), Items):
        return None
    passing = own.get("_non_persistent_buffers_set")
    passing = passing[:_MAX_PASSING] if type(passing) is list else []
    buffers = {name: value for name, value in named(own.get("_buffers")).items() if name not in passing}
    eps = own.get("eps")
    return Module(
        named(own["_parameters"]) | buffers, named(own["_modules"]), eps if type(eps) is float else None
    )


class _Search:
    def __init__(self, tensor_of: TensorOf, module_of: ModuleOf, limits: Limits) -> None:
        self._tensor_of, self._module_of, self._limits = tensor_of, module_of, limits
        self.objects = 0
        """Objects visited so far."""
        self.seen: set[int] = set()
        """Ids of the objects visited: each gives its tensors once, wherever it is found again."""
        self.items = 0
        """Items of dictionaries visited so far."""
        self.copied = 0
        """Bytes of copies of a network that are left out."""

    def named(self, items: Any) -> dict[str, Any]:
        """The items of a dictionary whose keys are texts or numbers.

        Raises:
            DuplicateTensor: where one is there twice.
            ExcessiveSize: where a few dictionaries are in so many places that there is no end to them.
        """
        if not isinstance(items, Items):
            return {}
        self.items += len(items)
        if self.items > self._limits.items:
            raise ExcessiveSize("the same dictionaries are in it again and again")
        result: dict[str, Any] = {}
        for key, value in zip(items[::2], items[1::2], strict=True):
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

    def tensor_of(self, value: Any) -> Tensor | Unreadable | None:
        return self._tensor_of(value) if self._is_object(value) else None

    def module_of(self, value: Any) -> Module | None:
        return self._module_of(value, self.named) if self._is_object(value) else None

    def _is_object(self, value: Any) -> bool:
        if not isinstance(value, Object):
            return False
        self.objects += 1
        if self.objects > self._limits.objects:
            raise ExcessiveSize(f"more than {self._limits.objects:,} tensors and modules")
        return True

    def network(self, value: Any, nesting: int = 0) -> Named:
        if nesting > _MAX_NESTING or not isinstance(value, Items | Object) or not self._is_new(value):
            return {}
        if module := self.module_of(value):
            found: Named = {}
            self._add_module(found, module, "", 0)
            return found
        items = self.named(_items(value))
        if items.keys() >= _OPTIMIZER or (_is_estimator(value) and _LINEAR not in items):
            return {}
        for key in _NETWORKS:
            found = self.network(items.get(key), nesting + 1)
            if found:
                return self._with_others(key, found, items, nesting)
        tensors = {name: Found(tensor) for name, item in items.items() if (tensor := self.tensor_of(item))}
        if not isinstance(value, Object) and are_data(tensors):
            tensors = {}
        parts = self._parts({key: item for key, item in items.items() if key not in tensors}, nesting)
        if not any(is_weight(found) for found in tensors.values()):
            if len(parts) == 1:  # it needs no name
                return next(iter(parts.values()))
            tensors = {} if parts else tensors
        for key, part in parts.items():
            named = {_joined(f"{key}.", name): found for name, found in part.items()}
            if not tensors.keys().isdisjoint(named):
                raise DuplicateTensor(f"two tensors have one name within {key[:100]!r}")
            tensors |= named
        return tensors

    def _with_others(self, key: str, found: Named, items: dict[str, Any], nesting: int) -> Named:
        """A network, and those beside it, each under its key; copies of it, such as averages, are none."""
        beside = {each: item for each, item in items.items() if each != key and not _DATA.search(each)}
        others = self._parts(beside, nesting)
        copies = {
            each for each, part in others.items() if _is_average(each, part, found) or _is_copy(part, found)
        }
        self.copied += sum(_bytes(others.pop(each)) for each in copies)
        others = {each: part for each, part in others.items() if any(map(_OF_LAYERS.fullmatch, part))}
        named: Named = {}
        for each, part in ({key: found} | others).items() if others else ():
            named |= {_joined(f"{each}.", name): tensor for name, tensor in part.items()}
        return named or found

    def _parts(self, items: dict[str, Any], nesting: int) -> dict[str, Named]:
        """Networks under keys of any name."""
        return {
            key: part
            for key, item in items.items()
            if not _TRAINING.search(key) and (part := self.network(item, nesting + 1))
        }

    def _add_module(self, found: Named, module: Module, prefix: str, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise ExcessiveSize(f"modules nested more than {MAX_DEPTH} deep")
        carrier = "running_var" if "running_var" in module.tensors else "weight"
        for name, value in module.tensors.items():
            if tensor := self.tensor_of(value):
                tensor = tensor.turned if module.is_turned and isinstance(tensor, Array) else tensor
                found[_joined(prefix, name)] = Found(tensor, module.eps if name == carrier else None)
        for name, value in module.children.items():
            if self._is_new(value) and (child := self.module_of(value)):
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


def _is_estimator(value: Any) -> bool:
    """Whether something is an object of scikit-learn's."""
    return (
        isinstance(value, Object)
        and isinstance(value.maker, Global)
        and value.maker.path.startswith(_ESTIMATORS)
    )


def _is_average(key: str, part: Named, network: Named) -> bool:
    """Whether a part is called an average and has tensors of the network's shapes alone."""
    shapes = {_shape(found) for found in network.values()}
    return bool(_AVERAGES.fullmatch(key)) and all(
        _shape(found) in shapes for found in part.values() if is_weight(found)
    )


def _shape(found: Found) -> Any:
    return None if isinstance(found.tensor, Unreadable) else found.tensor.shape


def _is_copy(part: Named, network: Named) -> bool:
    """Whether all tensors of a part are there in a network by name and shape, or none of them is a matrix."""
    weights = {name: found for name, found in _short_names(part).items() if is_weight(found)}
    network = _short_names(network)
    has_matrix = any(len(_shape(found) or ()) > 1 for found in weights.values())
    return not has_matrix or all(
        name in network and _shape(network[name]) == _shape(found) for name, found in weights.items()
    )


def _bytes(part: Named) -> int:
    tensors = (found.tensor for found in part.values())
    return sum(
        math.prod(tensor.shape) * tensor.dtype.itemsize
        for tensor in tensors
        if not isinstance(tensor, Unreadable)
    )


def is_weight(found: Found) -> bool:
    """Whether a tensor may be a parameter."""
    tensor = found.tensor
    return isinstance(tensor, Unreadable) or bool(tensor.shape and tensor.dtype.is_floating_point)


def _joined(prefix: str, name: str) -> str:
    if len(prefix) + len(name) > MAX_NAME:
        raise ExcessiveSize(f"a name of more than {MAX_NAME:,} characters")
    return prefix + name


def _short_names(found: Named) -> Named:
    """Without what wrappers put into names."""
    names = unwrapped(list(found))
    return dict(zip(names, found.values(), strict=True))


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

"""What the value of an expression is known to be without running it.

Text, numbers, ``None``, lists, tuples and dictionaries stand for themselves; the classes here stand for the rest.
"""

from __future__ import annotations

import ast
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

MAX_OPTIONS = 256
MAX_BYTES = 1 << 20
SCALARS = (str, int, float, bool, type(None))
_BYTES: dict[type, int] = {str: 1, list: 8, tuple: 8, dict: 32}


@dataclass(frozen=True)
class Unknown:
    """Any value; ``name`` is the dotted name where it is one."""

    name: str = ""


@dataclass(frozen=True)
class Choice:
    """One of these values; which one is decided when the program runs."""

    options: tuple[Any, ...]


@dataclass(frozen=True)
class ModuleName:
    """A module of the repository."""

    dotted: str


@dataclass(frozen=True)
class Imported:
    """A name that is looked up in its module when it is first used."""

    module: str
    name: str


@dataclass(eq=False)
class Scope:
    """The names of a module, a class body or a call, and the scope around it."""

    module: str
    names: dict[str, Any] = field(default_factory=dict)
    around: Scope | None = None
    stars: list[str] = field(default_factory=list)
    returns: list[Any] = field(default_factory=list)
    branches: int = 0

    def bind(self, name: str, value: Any) -> None:
        """Assign; within a branch that may not be taken the earlier value stays possible."""
        earlier = (self.names[name],) if self.branches and name in self.names else ()
        self.names[name] = choice([*earlier, value])


@dataclass(eq=False)
class Function:
    """A function of the repository, with the arguments that are already bound to it."""

    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    scope: Scope
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)


@dataclass(eq=False)
class Class:
    """A class of the repository, and the module that defines it."""

    node: ast.ClassDef
    module: str
    names: dict[str, Any]
    bases: tuple[Any, ...] = ()

    def get(self, name: str) -> Any:
        """An attribute, its own or inherited; ``None`` where there is none."""
        if name in self.names:
            return self.names[name]
        inherited = (base.get(name) for base in self.bases if isinstance(base, Class))
        return next((value for value in inherited if value is not None), None)


@dataclass(eq=False)
class Called:
    """What a call gave, where it is not known: the instance of a class, or what unknown code returns."""

    callee: Any
    name: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    names: dict[str, Any] = field(default_factory=dict)


def options(value: Any) -> tuple[Any, ...]:
    """The values that ``value`` may be."""
    return value.options if isinstance(value, Choice) else (value,)


def choice(values: Iterable[Any]) -> Any:
    """One of several values; equal texts and numbers count once."""
    found: dict[Any, Any] = {}
    left = MAX_BYTES
    for value in itertools.chain.from_iterable(map(options, values)):
        key = (type(value), value) if isinstance(value, SCALARS) else id(value)
        if key not in found:
            found[key] = value
            left -= size(value)
        if len(found) == MAX_OPTIONS or left < 0:
            break
    return next(iter(found.values()), Unknown()) if len(found) < 2 else Choice(tuple(found.values()))


def lift(function: Callable[..., Any], *values: Any) -> Any:
    """``function`` applied to every combination of the values' options."""
    combinations = itertools.islice(itertools.product(*map(options, values)), MAX_OPTIONS)
    return choice(itertools.starmap(function, combinations))


def size(value: Any) -> int:
    """About how many bytes a value takes besides those that it holds."""
    if isinstance(value, Choice):
        return sum(8 + size(option) for option in value.options)
    if isinstance(value, Called | Function):
        return size(value.args) + size(value.kwargs)
    return _BYTES[type(value)] * len(value) if type(value) in _BYTES else 0


def truth(value: Any) -> bool | None:
    """Whether a value is true; ``None`` where that isn't known."""
    found = {bool(option) if _is_plain(option) else None for option in options(value)}
    return found.pop() if len(found) == 1 else None


def _is_plain(value: Any) -> bool:
    return isinstance(value, (*SCALARS, list, tuple, dict))

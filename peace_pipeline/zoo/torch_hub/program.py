"""Follows a program's modules, statements and calls as far as they are known; nothing of it is run."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from peace_pipeline.zoo.torch_hub.operations import method, path_join
from peace_pipeline.zoo.torch_hub.statements import Statements
from peace_pipeline.zoo.torch_hub.tree import SourceTree, UnreadableTree
from peace_pipeline.zoo.torch_hub.values import (
    Called,
    Choice,
    Class,
    Function,
    Imported,
    ModuleName,
    Scope,
    Unknown,
    choice,
    lift,
    options,
)

_STEPS = 30_000
"""For each module, and for each entry point that is followed."""
_STEPS_IN_ALL = 200 * _STEPS
_MAX_CALLS = 12
Observer = Callable[[str, Any], None]


class Program(Statements):
    """The modules of a source tree, each followed when something in it is first needed."""

    def __init__(self, tree: SourceTree) -> None:
        super().__init__(tree, 0)
        self.damaged: dict[str, str] = {}
        self._left = _STEPS_IN_ALL
        self._modules: dict[str, Scope] = {}
        self._calls: list[ast.AST] = []
        self._observer: Observer | None = None

    def module(self, dotted: str) -> Scope:
        """The names of a module; empty where it can't be read (``damaged`` says why)."""
        if dotted in self._modules:
            return self._modules[dotted]
        scope = self._modules[dotted] = Scope(dotted)
        path = self.tree.find(dotted)
        if path is None:
            return scope
        try:
            body = self.tree.parse(path).body
        except UnreadableTree as error:
            self.damaged[dotted] = str(error)
            return scope
        with self._apart(None):
            for statement in body:
                with suppress(RecursionError):
                    self.statement(statement, scope)
        return scope

    @contextmanager
    def _apart(self, observer: Observer | None) -> Iterator[None]:
        """What the block follows has its own observer, calls and steps."""
        before = self._observer, self._calls, self.steps
        given = min(_STEPS, self._left)
        self._observer, self._calls, self.steps = observer, [], given
        try:
            yield
        finally:
            self._left -= given - max(self.steps, 0)
            self._observer, self._calls, self.steps = before

    def member(self, dotted: str, name: str) -> Any:
        """What ``name`` stands for in a module of the repository or elsewhere."""
        found = self._find(dotted, name)
        return Unknown(f"{dotted}.{name}") if found is None else found

    def _find(self, dotted: str, name: str) -> Any:
        scope = self.module(dotted)
        if name in scope.names:
            value = scope.names[name]
            scope.names[name] = Unknown(f"{dotted}.{name}")  # ends imports that go in circles
            scope.names[name] = self._resolved(value)
            return scope.names[name]
        if self.tree.holds(f"{dotted}.{name}"):
            return ModuleName(f"{dotted}.{name}")
        stars, scope.stars = scope.stars, []
        found = next((each for star in stars if (each := self._find(star, name)) is not None), None)
        scope.stars = stars
        return found

    def _resolved(self, value: Any) -> Any:
        """``value`` with names that were imported looked up in their modules."""
        if isinstance(value, Imported):
            return self.member(value.module, value.name)
        return choice(map(self._resolved, value.options)) if isinstance(value, Choice) else value

    def public(self, dotted: str, depth: int = 0) -> Iterator[str]:
        """The public names of a module, those of modules that it imports with a star too."""
        scope = self.module(dotted)
        listed = scope.names.get("__all__")
        if depth and isinstance(listed, list):
            yield from (name for name in listed if isinstance(name, str))
            return
        yield from (name for name in list(scope.names) if not name.startswith("_"))
        for star in scope.stars if depth < _MAX_CALLS else ():
            yield from self.public(star, depth + 1)

    def lookup(self, name: str, scope: Scope) -> Any:
        while scope.around is not None:
            if name in scope.names:
                return self._resolved(scope.names[name])
            scope = scope.around
        found = self._find(scope.module, name)
        return Unknown(name) if found is None else found

    def attribute(self, value: Any, name: str) -> Any:
        if isinstance(value, ModuleName):
            return self.member(value.dotted, name)
        if isinstance(value, Unknown):
            return Unknown(f"{value.name}.{name}")
        if isinstance(value, Called) and (name in value.names or name in value.kwargs):
            return value.names.get(name, value.kwargs.get(name))
        owner = value.callee if isinstance(value, Called) else value
        found = owner.get(name) if isinstance(owner, Class) else None
        if isinstance(found, Function) and _takes_self(found.node, isinstance(value, Class)):
            return Function(found.node, found.scope, (value, *found.args), found.kwargs)
        return Unknown(f".{name}") if found is None else found

    def call(self, node: ast.Call, scope: Scope) -> Any:
        args, kwargs = self.items(node.args, scope), self._keywords(node, scope)
        if isinstance(node.func, ast.Attribute):
            name, receiver = node.func.attr, self.evaluate(node.func.value, scope)
            records = [each for each in options(receiver) if isinstance(each, Called)]
            self._tell(name, (*records, *args, *kwargs.values()))
            return lift(lambda value: self._call_method(value, name, args, kwargs), receiver)
        name = getattr(node.func, "id", "")
        self._tell(name, (*args, *kwargs.values()))
        return lift(lambda callee: self._invoke(callee, name, args, kwargs), self.evaluate(node.func, scope))

    def _tell(self, name: str, values: tuple[Any, ...]) -> None:
        if self._observer:
            for value in values:
                self._observer(name, value)

    def _call_method(self, value: Any, name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        known = method(value, name, args, kwargs)
        return self._invoke(self.attribute(value, name), name, args, kwargs) if known is None else known

    def _keywords(self, node: ast.Call, scope: Scope) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for keyword in node.keywords:
            value = self.evaluate(keyword.value, scope)
            if keyword.arg:
                found[keyword.arg] = value
            elif isinstance(value, dict):
                found |= {key: each for key, each in value.items() if isinstance(key, str)}
        return found

    def _invoke(self, callee: Any, name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        if isinstance(callee, Function):
            return self.enter(callee, args, kwargs)
        if isinstance(callee, Class):
            made = Called(callee, name, tuple(args), kwargs)
            start = self.attribute(made, "__init__")
            if isinstance(start, Function):
                self.enter(start, args, kwargs)
            return made
        known = callee.name if isinstance(callee, Unknown) else ""
        if known.endswith("path.join"):
            return lift(path_join, *args)
        if known.endswith("partial") and args and isinstance(args[0], Function):
            inner = args[0]
            return Function(inner.node, inner.scope, (*inner.args, *args[1:]), inner.kwargs | kwargs)
        if known == "dict" and len(args) <= 1 and all(isinstance(each, dict) for each in args):
            return {key: value for part in (*args, kwargs) for key, value in part.items()}
        return Called(callee, name, tuple(args), kwargs)

    def follow(self, entry: Function | Class, observer: Observer) -> bool:
        """Follow a call with unknown arguments; ``observer`` is told every call's name, and what it is given.

        Whether it was followed to its end.
        """
        start = entry
        if isinstance(entry, Class):
            start = self.attribute(Called(entry, entry.node.name, (), {}), "__init__")
        with self._apart(observer), suppress(RecursionError):
            if isinstance(start, Function):
                self.enter(start, [], {}, free=True)
            return self.steps >= 0
        return False

    def enter(
        self, function: Function, args: list[Any], kwargs: dict[str, Any], *, free: bool = False
    ) -> Any:
        """Follow a function's body; ``free`` parameters may have any value besides their default."""
        node = function.node
        if len(self._calls) >= _MAX_CALLS or self._calls.count(node) > 1:
            return Unknown()
        inner = Scope(function.scope.module, around=function.scope)
        inner.names = self._parameters(function, [*function.args, *args], function.kwargs | kwargs, free)
        self._calls.append(node)
        try:
            if isinstance(node, ast.Lambda):
                return self.evaluate(node.body, inner)
            self.block(node.body, inner)
        finally:
            self._calls.pop()
        return choice(inner.returns)

    def _parameters(
        self, function: Function, args: list[Any], kwargs: dict[str, Any], free: bool
    ) -> dict[str, Any]:
        spec = function.node.args
        positional = [*spec.posonlyargs, *spec.args]
        with_default = positional[len(positional) - len(spec.defaults) :]
        defaults = dict(zip((each.arg for each in with_default), spec.defaults, strict=True))
        defaults |= {
            each.arg: value for each, value in zip(spec.kwonlyargs, spec.kw_defaults, strict=True) if value
        }
        names = {}
        for each in (*positional, *spec.kwonlyargs):
            fixed = [self.evaluate(defaults[each.arg], function.scope)] if each.arg in defaults else []
            names[each.arg] = choice([*fixed, Unknown()] if free or not fixed else fixed)
        names |= {each.arg: value for each, value in zip(positional, args)}  # noqa: B905
        names |= {key: value for key, value in kwargs.items() if key in names}
        if spec.vararg:
            names[spec.vararg.arg] = args[len(positional) :]
        if spec.kwarg:
            names[spec.kwarg.arg] = {key: value for key, value in kwargs.items() if key not in names}
        return names


def _takes_self(node: ast.AST, of_class: bool) -> bool:
    """Whether a method gets what it is taken from as its first argument."""
    names = {each.id for each in getattr(node, "decorator_list", ()) if isinstance(each, ast.Name)}
    return "classmethod" in names if of_class else "staticmethod" not in names

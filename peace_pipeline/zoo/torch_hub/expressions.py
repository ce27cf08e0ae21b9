"""Evaluates expressions as far as they are known without running anything; the rest is ``Unknown``."""

from __future__ import annotations

import ast
import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

from peace_pipeline.zoo.torch_hub.operations import (
    MAX_ITEMS,
    added,
    compared,
    is_key,
    item,
    joined,
    percent,
    section,
)
from peace_pipeline.zoo.torch_hub.values import Scope, Unknown, choice, lift, size, truth

_MAX_LITERAL = 100_000
_BYTES_A_STEP = 64


class Expressions(ABC):
    """Expressions of a program; names, attributes and calls are the program's to answer.

    Every evaluation is a step, and so is every part of a value that it makes; when ``steps`` are used up, what is
    left is unknown.
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps

    @abstractmethod
    def lookup(self, name: str, scope: Scope) -> Any:
        """The value of a name."""

    @abstractmethod
    def attribute(self, value: Any, name: str) -> Any:
        """The value of ``value.name``."""

    @abstractmethod
    def call(self, node: ast.Call, scope: Scope) -> Any:
        """The value of a call."""

    @abstractmethod
    def function(self, node: ast.Lambda, scope: Scope) -> Any:
        """The function that a lambda gives."""

    def evaluate(self, node: ast.expr, scope: Scope) -> Any:
        """What the value of an expression is known to be."""
        self.steps -= 1
        if self.steps < 0:
            return Unknown()
        rule = _RULES.get(type(node))
        value = rule(self, node, scope) if rule else self._inside(node, scope)
        return value if isinstance(node, _TAKING) else self.made(value)

    def made(self, value: Any) -> Any:
        """``value``, which is new; what it takes counts as steps."""
        self.steps -= size(value) // _BYTES_A_STEP
        return value

    def _inside(self, node: ast.AST, scope: Scope) -> Unknown:
        """Evaluate the parts of an expression whose own value isn't known, for the calls in them."""
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr):
                self.evaluate(child, scope)
        return Unknown()

    def _constant(self, node: ast.Constant, scope: Scope) -> Any:
        known = is_key(node.value) and not (isinstance(node.value, str) and len(node.value) > _MAX_LITERAL)
        return node.value if known else Unknown()

    def _name(self, node: ast.Name, scope: Scope) -> Any:
        return self.lookup(node.id, scope)

    def _attribute(self, node: ast.Attribute, scope: Scope) -> Any:
        return lift(lambda value: self.attribute(value, node.attr), self.evaluate(node.value, scope))

    def _subscript(self, node: ast.Subscript, scope: Scope) -> Any:
        value = self.evaluate(node.value, scope)
        if isinstance(node.slice, ast.Slice):
            ends = (node.slice.lower, node.slice.upper, node.slice.step)
            return lift(section, value, *(end and self.evaluate(end, scope) for end in ends))
        return lift(item, value, self.evaluate(node.slice, scope))

    def _text(self, node: ast.JoinedStr, scope: Scope) -> Any:
        return lift(joined, *(self.evaluate(part, scope) for part in node.values))

    def _formatted(self, node: ast.FormattedValue, scope: Scope) -> Any:
        value = self.evaluate(node.value, scope)
        plain = node.format_spec is None and node.conversion in (-1, ord("s"))
        return lift(joined, value) if plain else Unknown()

    def _binary(self, node: ast.BinOp, scope: Scope) -> Any:
        left, right = self.evaluate(node.left, scope), self.evaluate(node.right, scope)
        rule = {ast.Add: added, ast.Mod: percent}.get(type(node.op))
        return lift(rule, left, right) if rule else Unknown()

    def _unary(self, node: ast.UnaryOp, scope: Scope) -> Any:
        value = self.evaluate(node.operand, scope)
        if isinstance(node.op, ast.USub) and isinstance(value, int | float):
            return -value
        known = truth(value) if isinstance(node.op, ast.Not) else None
        return Unknown() if known is None else not known

    def _boolean(self, node: ast.BoolOp, scope: Scope) -> Any:
        stops = isinstance(node.op, ast.Or)
        possible = []
        for part in node.values:
            value = self.evaluate(part, scope)
            known = truth(value)
            if known is not (not stops) or part is node.values[-1]:
                possible.append(value)
            if known is stops:
                break
        return choice(possible)

    def _compare(self, node: ast.Compare, scope: Scope) -> Any:
        left, *rest = [self.evaluate(part, scope) for part in (node.left, *node.comparators)]
        if len(rest) > 1:
            return Unknown()
        return lift(lambda one, other: compared(node.ops[0], one, other), left, rest[0])

    def _either(self, node: ast.IfExp, scope: Scope) -> Any:
        known = truth(self.evaluate(node.test, scope))
        chosen = [part for part, when in ((node.body, True), (node.orelse, False)) if known in (None, when)]
        return choice([self.evaluate(part, scope) for part in chosen])

    def _dict(self, node: ast.Dict, scope: Scope) -> Any:
        found: dict[Any, Any] = {}
        for key, part in zip(node.keys, node.values, strict=True):
            value = self.evaluate(part, scope)
            if key is None:
                found |= value if isinstance(value, dict) and len(value) + len(found) <= MAX_ITEMS else {}
            else:
                name = self.evaluate(key, scope)
                found[name if is_key(name) else Unknown(f"key {len(found)}")] = value
        return found

    def _list(self, node: ast.List | ast.Set, scope: Scope) -> Any:
        return self.items(node.elts, scope)

    def _tuple(self, node: ast.Tuple, scope: Scope) -> Any:
        return tuple(self.items(node.elts, scope))

    def items(self, nodes: list[ast.expr], scope: Scope) -> list[Any]:
        """The values of a display or of arguments, those after a star too."""
        found: list[Any] = []
        for node in nodes:
            if isinstance(node, ast.Starred):
                value = self.evaluate(node.value, scope)
                known = isinstance(value, list | tuple) and len(found) + len(value) <= MAX_ITEMS
                found += value if known else [Unknown()]
            else:
                found.append(self.evaluate(node, scope))
        return found

    def _walrus(self, node: ast.NamedExpr, scope: Scope) -> Any:
        value = self.evaluate(node.value, scope)
        scope.bind(node.target.id, value)
        return value

    def _lambda(self, node: ast.Lambda, scope: Scope) -> Any:
        return self.function(node, scope)

    def _listed(self, node: ast.ListComp | ast.GeneratorExp | ast.SetComp, scope: Scope) -> Any:
        return [self.evaluate(node.elt, inner) for inner in self._each(node.generators, scope)]

    def _mapped(self, node: ast.DictComp, scope: Scope) -> Any:
        pairs = (
            (self.evaluate(node.key, inner), self.evaluate(node.value, inner))
            for inner in self._each(node.generators, scope)
        )
        return {key: value for key, value in pairs if is_key(key)}

    def _each(self, generators: list[ast.comprehension], scope: Scope) -> Iterator[Scope]:
        """One scope for each item that a comprehension goes through, as far as they are known."""
        if not generators:
            yield scope
            return
        first, *rest = generators
        values = self.evaluate(first.iter, scope)
        known = isinstance(values, list | tuple | dict)
        for value in itertools.islice(values, 1000) if known else [Unknown()]:
            if self.steps < 0:
                return
            inner = Scope(scope.module, around=scope)
            self.assign(first.target, value, inner)
            if all(truth(self.evaluate(test, inner)) is not False for test in first.ifs):
                yield from self._each(rest, inner)

    def assign(self, target: ast.expr, value: Any, scope: Scope) -> None:
        """Bind what an assignment's left side names."""
        if isinstance(target, ast.Name):
            scope.bind(target.id, value)
        elif isinstance(target, ast.Tuple | ast.List):
            known = isinstance(value, list | tuple) and len(value) == len(target.elts)
            for part, each in zip(target.elts, value if known else itertools.repeat(Unknown())):  # noqa: B905
                self.assign(part, each, scope)
        elif isinstance(target, ast.Subscript):
            container, key = self.evaluate(target.value, scope), self.evaluate(target.slice, scope)
            if isinstance(container, dict) and is_key(key):
                container[key] = value
        elif isinstance(target, ast.Attribute):
            names = getattr(self.evaluate(target.value, scope), "names", None)
            if isinstance(names, dict):
                names[target.attr] = value


_TAKING = (ast.Constant, ast.Name, ast.Attribute)
"""Expressions that make no value."""
_RULES: dict[type[ast.expr], Callable[..., Any]] = {
    ast.Constant: Expressions._constant,
    ast.Name: Expressions._name,
    ast.Attribute: Expressions._attribute,
    ast.Subscript: Expressions._subscript,
    ast.JoinedStr: Expressions._text,
    ast.FormattedValue: Expressions._formatted,
    ast.BinOp: Expressions._binary,
    ast.UnaryOp: Expressions._unary,
    ast.BoolOp: Expressions._boolean,
    ast.Compare: Expressions._compare,
    ast.IfExp: Expressions._either,
    ast.Dict: Expressions._dict,
    ast.List: Expressions._list,
    ast.Set: Expressions._list,
    ast.Tuple: Expressions._tuple,
    ast.NamedExpr: Expressions._walrus,
    ast.Lambda: Expressions._lambda,
    ast.ListComp: Expressions._listed,
    ast.GeneratorExp: Expressions._listed,
    ast.SetComp: Expressions._listed,
    ast.DictComp: Expressions._mapped,
    ast.Call: lambda self, node, scope: self.call(node, scope),
}

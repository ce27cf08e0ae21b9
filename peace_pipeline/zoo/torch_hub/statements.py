"""Follows the statements of a module, a class or a function in order; branches join."""

from __future__ import annotations

import ast
from collections.abc import Callable

from peace_pipeline.zoo.torch_hub.expressions import Expressions
from peace_pipeline.zoo.torch_hub.tree import SourceTree
from peace_pipeline.zoo.torch_hub.values import (
    Class,
    Function,
    Imported,
    ModuleName,
    Scope,
    Unknown,
    choice,
    truth,
)

_BINDING = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Import, ast.ImportFrom)
"""Statements that only give something a name."""


class Statements(Expressions):
    """Statements of a program of several modules."""

    def __init__(self, tree: SourceTree, steps: int) -> None:
        super().__init__(steps)
        self.tree = tree

    def function(self, node: ast.Lambda, scope: Scope) -> Function:
        return Function(node, scope)

    def block(self, body: list[ast.stmt], scope: Scope) -> bool:
        """Follow statements in order; whether the block was left by a return or an exception."""
        return any(self.statement(statement, scope) for statement in body)

    def _branch(self, body: list[ast.stmt], scope: Scope) -> bool:
        scope.branches += 1
        try:
            return self.block(body, scope)
        finally:
            scope.branches -= 1

    def statement(self, node: ast.stmt, scope: Scope) -> bool:
        self.steps -= 1
        if self.steps < 0 and not isinstance(node, _BINDING):
            return True
        rule = _STATEMENTS.get(type(node))
        return bool(rule and rule(self, node, scope))

    def _assign(self, node: ast.Assign, scope: Scope) -> None:
        value = self.evaluate(node.value, scope)
        for target in node.targets:
            self.assign(target, value, scope)

    def _annotated(self, node: ast.AnnAssign, scope: Scope) -> None:
        if node.value is not None:
            self.assign(node.target, self.evaluate(node.value, scope), scope)

    def _augmented(self, node: ast.AugAssign, scope: Scope) -> None:
        if isinstance(node.target, ast.Name):
            left = ast.Name(node.target.id, ast.Load())
            self.assign(node.target, self.evaluate(ast.BinOp(left, node.op, node.value), scope), scope)

    def _expression(self, node: ast.Expr, scope: Scope) -> None:
        self.evaluate(node.value, scope)

    def _return(self, node: ast.Return, scope: Scope) -> bool:
        if node.value is not None:
            scope.returns.append(self.evaluate(node.value, scope))
        return True

    def _raise(self, node: ast.Raise, scope: Scope) -> bool:
        return True

    def _define(self, node: ast.FunctionDef | ast.AsyncFunctionDef, scope: Scope) -> None:
        scope.bind(node.name, Function(node, scope))

    def _class(self, node: ast.ClassDef, scope: Scope) -> None:
        inner = Scope(scope.module, around=scope)
        self.block(node.body, inner)
        for value in inner.names.values():
            if isinstance(value, Function):
                value.scope = scope  # methods don't see the names of their class
        bases = tuple(self.evaluate(base, scope) for base in node.bases)
        scope.bind(node.name, Class(node, scope.module, inner.names, bases))

    def _if(self, node: ast.If, scope: Scope) -> bool:
        known = truth(self.evaluate(node.test, scope))
        if known is not None:
            return self.block(node.body if known else node.orelse, scope)
        left = [self._branch(body, scope) for body in (node.body, node.orelse)]
        return all(left)

    def _for(self, node: ast.For | ast.AsyncFor, scope: Scope) -> None:
        values = self.evaluate(node.iter, scope)
        one_of = choice(values) if isinstance(values, list | tuple | dict) else Unknown()
        self.assign(node.target, self.made(one_of), scope)
        self._branch([*node.body, *node.orelse], scope)

    def _while(self, node: ast.While, scope: Scope) -> None:
        self.evaluate(node.test, scope)
        self._branch([*node.body, *node.orelse], scope)

    def _with(self, node: ast.With | ast.AsyncWith, scope: Scope) -> bool:
        for each in node.items:
            value = self.evaluate(each.context_expr, scope)
            if each.optional_vars is not None:
                self.assign(each.optional_vars, value, scope)
        return self.block(node.body, scope)

    def _try(self, node: ast.Try | ast.TryStar, scope: Scope) -> bool:
        left = self.block([*node.body, *node.orelse], scope)
        for handler in node.handlers:
            self._branch(handler.body, scope)
        return self.block(node.finalbody, scope) or left

    def _match(self, node: ast.Match, scope: Scope) -> None:
        self.evaluate(node.subject, scope)
        for case in node.cases:
            self._branch(case.body, scope)

    def _import(self, node: ast.Import, scope: Scope) -> None:
        for each in node.names:
            dotted = each.name if each.asname else each.name.partition(".")[0]
            inside = self.tree.holds(dotted)
            scope.bind(each.asname or dotted, ModuleName(dotted) if inside else Unknown(dotted))

    def _import_from(self, node: ast.ImportFrom, scope: Scope) -> None:
        module = self._absolute(node, scope.module)
        for each in node.names:
            if each.name == "*":
                scope.stars.append(module)
            else:
                scope.bind(each.asname or each.name, Imported(module, each.name))

    def _absolute(self, node: ast.ImportFrom, importer: str) -> str:
        """The dotted name of the module that a statement imports from."""
        if not node.level:
            return node.module or ""
        parts = importer.split(".")
        is_package = (self.tree.find(importer) or "").endswith("/__init__.py")
        kept = parts[: len(parts) - node.level + is_package]
        return ".".join([*kept, *([node.module] if node.module else [])])


_STATEMENTS: dict[type[ast.stmt], Callable[..., bool | None]] = {
    ast.Assign: Statements._assign,
    ast.AnnAssign: Statements._annotated,
    ast.AugAssign: Statements._augmented,
    ast.Expr: Statements._expression,
    ast.Return: Statements._return,
    ast.Raise: Statements._raise,
    ast.FunctionDef: Statements._define,
    ast.AsyncFunctionDef: Statements._define,
    ast.ClassDef: Statements._class,
    ast.If: Statements._if,
    ast.For: Statements._for,
    ast.AsyncFor: Statements._for,
    ast.While: Statements._while,
    ast.With: Statements._with,
    ast.AsyncWith: Statements._with,
    ast.Try: Statements._try,
    ast.TryStar: Statements._try,
    ast.Match: Statements._match,
    ast.Import: Statements._import,
    ast.ImportFrom: Statements._import_from,
}

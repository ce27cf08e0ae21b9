"""The operators and methods whose result is known when their operands are; results stay small."""

from __future__ import annotations

import ast
import itertools
import posixpath
import re
from typing import Any

from peace_pipeline.zoo.torch_hub.values import SCALARS, Called, Class, Unknown, choice, lift

MAX_TEXT = 4096
MAX_ITEMS = 20_000
_FIELD = re.compile(r"\{(\w*)\}")
_PLACE = re.compile(r"%[sd]")


def is_key(value: Any) -> bool:
    """Whether a value is text, a number, or ``None``."""
    return isinstance(value, SCALARS)


def is_printable(value: Any) -> bool:
    """Whether a value's text is known and short."""
    return isinstance(value, str | float) or (isinstance(value, int) and abs(value) < 1 << 64)


def section(value: Any, start: Any, stop: Any, step: Any) -> Any:
    """``value[start:stop:step]``."""
    ends = (start, stop, step)
    known = isinstance(value, str | list | tuple) and all(end is None or type(end) is int for end in ends)
    return value[start:stop:step] if known and step != 0 else Unknown()


def added(left: Any, right: Any) -> Any:
    """``left + right`` of texts, lists and tuples."""
    if type(left) is type(right) and isinstance(left, str | list | tuple):
        limit = MAX_TEXT if isinstance(left, str) else MAX_ITEMS
        return left + right if len(left) + len(right) <= limit else Unknown()
    return Unknown()


def joined(*parts: Any) -> Any:
    """The parts' texts, one after another."""
    if not all(map(is_printable, parts)):
        return Unknown()
    texts = list(map(str, parts))
    return "".join(texts) if sum(map(len, texts)) <= MAX_TEXT else Unknown()


def path_join(*parts: Any) -> Any:
    """``os.path.join(…)``."""
    known = parts and all(isinstance(part, str) for part in parts) and sum(map(len, parts)) <= MAX_TEXT
    return posixpath.join(*parts) if known else Unknown()


def item(container: Any, key: Any) -> Any:
    """``container[key]``; any of its values where the key is not known."""
    if isinstance(container, dict):
        if is_key(key):
            return container.get(key, Unknown())
        return choice(container.values())
    if isinstance(container, list | tuple):
        if isinstance(key, int) and -len(container) <= key < len(container):
            return container[key]
        return choice(container) if isinstance(key, Unknown) else Unknown()
    if isinstance(container, Class):  # an enumeration
        return choice(member for member in container.names.values() if isinstance(member, Called))
    return Unknown()


def method(value: Any, name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """What a method of a text or a dictionary gives; ``None`` where it is not one of the few that are known."""
    if isinstance(value, str) and name == "format":
        return _format(value, args, kwargs)
    if isinstance(value, str) and name == "join" and args and isinstance(args[0], list | tuple):
        return lift(joined, *_between(value, args[0]))
    if isinstance(value, str) and name in ("lower", "upper") and not args:
        return getattr(value, name)()
    if isinstance(value, dict) and name == "get" and args:
        return lift(item, value, args[0])
    if isinstance(value, dict) and name in ("items", "keys", "values"):
        return list(getattr(value, name)())
    return None


def _between(separator: str, parts: list[Any] | tuple[Any, ...]) -> list[Any]:
    return list(itertools.chain.from_iterable((separator, part) for part in parts))[1:]


def _format(text: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """``text.format(…)`` where its fields have no specification."""
    literal, *rest = _FIELD.split(text)
    counter = itertools.count()
    parts: list[Any] = [literal]
    for name, literal in zip(rest[::2], rest[1::2], strict=True):
        position = int(name) if name.isdecimal() else next(counter) if not name else None
        positional = args[position] if position is not None and position < len(args) else Unknown()
        parts += [kwargs.get(name, Unknown()) if position is None else positional, literal]
    if any("{" in part or "}" in part for part in parts[::2]):
        return Unknown()
    return lift(joined, *parts)


def percent(text: Any, values: Any) -> Any:
    """``text % values`` where its placeholders are ``%s`` or ``%d``."""
    parts = values if isinstance(values, tuple) else (values,)
    literals = _PLACE.split(text) if isinstance(text, str) else []
    if len(literals) != len(parts) + 1 or any("%" in literal for literal in literals):
        return Unknown()
    woven = itertools.chain.from_iterable(zip(literals, (*parts, ""), strict=True))
    return lift(joined, *woven)


def compared(operator: ast.cmpop, one: Any, other: Any) -> Any:
    """Whether known texts and numbers are equal, or one is among several."""
    if not is_key(one):
        return Unknown()
    if isinstance(operator, ast.Eq | ast.NotEq | ast.Is | ast.IsNot) and is_key(other):
        same = one == other
    elif isinstance(operator, ast.In | ast.NotIn) and _all_known(other):
        same = one in other
    else:
        return Unknown()
    return same is not isinstance(operator, ast.NotEq | ast.IsNot | ast.NotIn)


def _all_known(values: Any) -> bool:
    return isinstance(values, list | tuple | dict) and all(map(is_key, values))

"""The ``torch_hub`` source: the weights that a repository's ``hubconf.py`` names; it is parsed, never run."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlparse

from peace_pipeline.lake import Lake
from peace_pipeline.zoo.formats import is_weights
from peace_pipeline.zoo.record import ModelRecord
from peace_pipeline.zoo.source import ConfigError, register
from peace_pipeline.zoo.torch_hub.linked import LinkedWeights, is_url, label_of, linked, storable, unusable
from peace_pipeline.zoo.torch_hub.program import Program
from peace_pipeline.zoo.torch_hub.tree import SourceTree, UnreadableTree
from peace_pipeline.zoo.torch_hub.values import Called, Class, Function, Imported, Unknown, options

HUBCONF = "hubconf"
_LOADERS = ("load_state_dict_from_url", "load_url")
_NO_WEIGHTS = "hubconf.py names no link to weights for it"
_TOO_LARGE = "its code is too large to be followed to the weights"


@register("torch_hub")
class TorchHubSource(LinkedWeights):
    """The entry points of ``repository`` and the weight files that they load.

    Calls are followed through the repository's own modules. Model ids are ``torch_hub:LABEL/ENTRY``, with
    ``/FILE`` where an entry point has several files; ``label`` defaults to the repository's name.
    """

    source = "torch_hub"
    marker = f"{HUBCONF}.py"

    def __init__(self, lake: Lake, base: Path, *, repository: str, label: str | None = None) -> None:
        super().__init__(lake, base, repository)
        self.label = label or storable(label_of(repository if is_url(repository) else str(base / repository)))
        if "/" in self.label:
            raise ConfigError(f"torch_hub source: label {self.label!r} has a slash")

    @property
    def prefix(self) -> str:
        return f"{self.source}:{self.label}/"

    def records(self, tree: SourceTree) -> Iterator[ModelRecord]:
        """One model for every entry point and file; an entry point that names none is skipped.

        Raises:
            UnreadableTree: where hubconf.py is not Python.
        """
        program = Program(tree)
        module = program.module(HUBCONF)
        if HUBCONF in program.damaged:
            raise UnreadableTree(program.damaged[HUBCONF])
        dependencies = module.names.get("dependencies")
        tags = tuple(storable(name) for name in _texts(dependencies))
        imported = {name for name, value in module.names.items() if isinstance(value, Imported)}
        for entry in dict.fromkeys(program.public(HUBCONF)):
            yield from self._entry(program, entry, tags, entry in imported)

    def _entry(
        self, program: Program, entry: str, tags: tuple[str, ...], imported: bool
    ) -> Iterator[ModelRecord]:
        value = program.member(HUBCONF, entry)
        callables = [each for each in options(value) if isinstance(each, Function | Class)]
        if not callables:
            if imported and (reason := _missing(program, value)):
                yield unusable(self.source, self.prefix + entry, reason, tags=tags)
            return
        urls, whole = weight_urls(program, callables)
        fields = {"architecture": entry, "library": "pytorch", "tags": tags, "card": _docstring(callables[0])}
        records = [linked(self.source, self.prefix + entry, url, **fields) for url in urls]
        yield from _told_apart(records)
        if not records and isinstance(callables[0], Function):
            yield unusable(self.source, self.prefix + entry, _NO_WEIGHTS if whole else _TOO_LARGE, **fields)


def weight_urls(program: Program, entries: list[Function | Class]) -> tuple[list[str], bool]:
    """The weight files that calls of ``entries`` may load, and whether these were followed to their end.

    They are the links to such files among what the calls within are given.
    """
    found: dict[str, None] = {}

    def observe(call: str, argument: Any) -> None:
        for text in _texts(argument):
            if is_url(text) and (call in _LOADERS or _is_weights(text)):
                found[text] = None

    whole = all([program.follow(entry, observe) for entry in entries])
    return list(found), whole


def _is_weights(url: str) -> bool:
    return is_weights(PurePosixPath(unquote(urlparse(url).path)).name)


def _texts(value: Any) -> Iterator[str]:
    """The texts that a value may be, or may hold: a list its items, a record its fields."""
    for option in options(value):
        fields = tuple(option.kwargs.values()) if isinstance(option, Called) else (option,)
        items = option if isinstance(option, list | tuple) else fields
        yield from (text for item in items for text in options(item) if isinstance(text, str))


def _missing(program: Program, value: Any) -> str | None:
    """Why an imported name can't be followed, where it may be an entry point."""
    if not isinstance(value, Unknown):
        return None
    module, _, name = value.name.rpartition(".")
    if module in program.damaged:
        return program.damaged[module]
    top = module.partition(".")[0]
    if not name.islower() or top in ("torch", HUBCONF) or top in sys.stdlib_module_names:
        return None
    return f"it is imported from {module}, which the repository does not hold"


def _told_apart(records: list[ModelRecord]) -> Iterator[ModelRecord]:
    """The records of one entry point under ids of their own."""
    from dataclasses import replace

    names = [record.files[0].path for record in records]
    for record, name in zip(records, names, strict=True):
        if len(records) > 1:
            unique = name if names.count(name) == 1 else f"{name}@{record.revision[:8]}"
            record = replace(record, model_id=f"{record.model_id}/{unique}")
        yield record


def _docstring(entry: Function | Class) -> str | None:
    if isinstance(entry.node, ast.Lambda):
        return None
    text = ast.get_docstring(entry.node, clean=False)
    return storable(inspect.cleandoc(text)) if text else None

"""TorchScript's modules: what their archived code declares of them; the code is searched for that, never run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from peace_pipeline.weights.errors import ExcessiveSize
from peace_pipeline.weights.formats.pickles import Global, Object
from peace_pipeline.weights.formats.state_dicts import Module, NamedItems, attributes
from peace_pipeline.weights.formats.zips import Archive

MAX_CODE = 16 << 20
"""Bytes of all code that is read."""

_CLASS = re.compile(r"^class (\w+)\(Module\):\n", re.MULTILINE)
_LISTED = r"^  __{}__ = \[(.*)\]$"
_PARAMETERS, _BUFFERS = (re.compile(_LISTED.format(what), re.MULTILINE) for what in ("parameters", "buffers"))
_NAME = re.compile(r'"([^"]*)"')
_NUMBER = r"([\d.e+-]{1,30})"
_SCRIPTED_EPS = re.compile(rf"^  eps : Final\[float\] = {_NUMBER}$", re.MULTILINE)
_TRACED_EPS = re.compile(
    rf"torch\.(?:batch|layer|group|instance)_norm\([^()\n]*?, {_NUMBER}(?:, (?:True|False))*\)"
)


@dataclass(frozen=True)
class _Declared:
    """Names of a class's parameters and buffers; none where it is of before PyTorch 1.6, which doesn't list both."""

    tensors: frozenset[str] | None
    eps: float | None


class Code:
    """The modules that an archive's code declares; each of its files is read once, when it is needed."""

    def __init__(self, archive: Archive, root: str) -> None:
        self._archive, self._folder = archive, f"{root}/code/"
        self._left = MAX_CODE
        self._files: dict[str, dict[str, _Declared]] = {}

    def module_of(self, record: Object, named: NamedItems) -> Module | None:
        """A pickled module of TorchScript.

        Raises:
            UnreadableCheckpoint: where the code that declares it can't be had.
        """
        if not isinstance(record.maker, Global):
            return None
        file, _, name = record.maker.path.rpartition(".")
        declared = self._declared(file).get(name)
        if not declared:
            return None
        own = named(attributes(record))
        listed = declared.tensors
        tensors = own if listed is None else {key: value for key, value in own.items() if key in listed}
        return Module(tensors, own, declared.eps)

    def _declared(self, file: str) -> dict[str, _Declared]:
        if file not in self._files:
            member = self._archive.members.get(f"{self._folder}{file.replace('.', '/')}.py")
            if member and member.size > self._left:
                raise ExcessiveSize(f"more than {MAX_CODE:,} bytes of code")
            code = self._archive.content(member, MAX_CODE) if member else b""
            self._left -= len(code)
            self._files[file] = dict(_classes(code.decode(errors="replace")))
        return self._files[file]


def _classes(code: str) -> Iterator[tuple[str, _Declared]]:
    _, *parts = _CLASS.split(code)
    for name, body in zip(parts[::2], parts[1::2], strict=True):
        parameters, buffers = _PARAMETERS.search(body), _BUFFERS.search(body)
        listed = frozenset(_NAME.findall(f"{parameters[1]},{buffers[1]}")) if parameters and buffers else None
        yield name, _Declared(listed, _epsilon(body))


def _epsilon(body: str) -> float | None:
    found = [*_SCRIPTED_EPS.findall(body)[:1], *_TRACED_EPS.findall(body)]
    try:
        return float(found[0]) if found else None
    except ValueError:
        return None

"""LanceDB's tables in a folder, without the parts of LanceDB that no lake uses."""

from __future__ import annotations

import sys
from datetime import timedelta
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lancedb import DBConnection

_REMOTE = "lance_namespace_urllib3_client"
"""LanceDB's client of remote catalogs: it imports some data classes of it, whose package imports all its interfaces,
which takes half the time that LanceDB takes to import."""


def connect(folder: Path, consistency: timedelta | None = None) -> DBConnection:
    """The database in a folder; tables are looked up again where they were last so long ago."""
    if _REMOTE not in sys.modules:
        _defer(_REMOTE)
    import lancedb

    return lancedb.connect(str(folder), read_consistency_interval=consistency)


class _Deferred(ModuleType):
    """A package whose modules can be imported; it is itself executed when anything else is asked of it."""

    def __getattr__(self, name: str) -> object:
        spec = self.__spec__
        if name.startswith("__") or spec is None or spec.loader is None:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        self.__class__ = ModuleType  # type: ignore[assignment]
        spec.loader.exec_module(self)
        return getattr(self, name)


def _defer(name: str) -> None:
    if spec := find_spec(name):
        module = module_from_spec(spec)
        module.__class__ = _Deferred
        sys.modules[name] = module

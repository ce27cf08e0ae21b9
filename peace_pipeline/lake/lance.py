"""LanceDB's tables in a folder, without the parts of LanceDB that no lake uses."""

from __future__ import annotations

import sys
import threading
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
_DEFERRED = "_peace_deferred"
_executing = threading.RLock()


def connect(folder: Path, consistency: timedelta | None = None) -> DBConnection:
    """The database in a folder; tables are looked up again where they were last so long ago."""
    with _executing:
        if _REMOTE not in sys.modules:
            _defer(_REMOTE)
    import lancedb

    return lancedb.connect(str(folder), read_consistency_interval=consistency)


class _Deferred(ModuleType):
    """A package whose modules can be imported; it is itself executed when anything that it defines is asked for."""

    def __getattr__(self, name: str) -> object:
        # a module of it is for the import system, which holds a lock of its own
        is_ours = name in ("__all__", "__version__") or not (
            name.startswith("__") or find_spec(f"{self.__name__}.{name}")
        )
        with _executing:
            if is_ours and _DEFERRED in vars(self) and self.__spec__ and self.__spec__.loader:
                del vars(self)[_DEFERRED]
                self.__spec__.loader.exec_module(self)
        return super().__getattribute__(name)


def _defer(name: str) -> None:
    if spec := find_spec(name):
        module = module_from_spec(spec)
        module.__class__ = _Deferred
        vars(module)[_DEFERRED] = True
        sys.modules[name] = module

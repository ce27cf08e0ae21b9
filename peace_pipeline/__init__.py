"""PEACE: Permutation-Equivariant Architecture Contrastive Embeddings.

What there is for Python programs is loaded when it is asked for::

    from peace_pipeline import Index, compare, embed
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from peace_pipeline.api import Index, compare, embed

__version__ = "0.1.0"
__all__ = ["Index", "compare", "embed"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("peace_pipeline.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

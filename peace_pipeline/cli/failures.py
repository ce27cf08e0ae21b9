"""A failure is one line on stderr and an exit code."""

from __future__ import annotations

import os
from importlib import metadata
from typing import Any

import typer
from typer.core import TyperGroup

TRACEBACK = "PEACE_TRACEBACK"
_OWN = ("peace_pipeline.",)


class Commands(TyperGroup):
    """Commands whose failures are one line on stderr and exit code 1; ``PEACE_TRACEBACK=1`` shows where."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            if isinstance(error, typer.Exit | typer.Abort) or _is_usage(error) or os.environ.get(TRACEBACK):
                raise
            typer.echo(f"peace: {reason(error)}", err=True)
            raise typer.Exit(1) from error


def _is_usage(error: Exception) -> bool:
    return hasattr(error, "exit_code") and hasattr(error, "show")


def reason(error: Exception) -> str:
    """An exception in one line; the type is named where it is neither PEACE's own nor a disk's refusal."""
    from peace_pipeline.lake.refusals import refusal

    if refused := refusal(error):
        return refused
    if isinstance(error, ModuleNotFoundError) and _is_client():
        return f"the client lacks {error.name}: install peace-pipeline in its place"
    text = " ".join(str(error).split())
    own = any(kind.__module__.startswith(_OWN) for kind in type(error).__mro__)
    return text if own and text else f"{type(error).__name__}: {text}"


def _is_client() -> bool:
    try:
        return bool(metadata.version("peace-client"))
    except metadata.PackageNotFoundError:
        return False

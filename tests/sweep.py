"""Parameters of which some run every time, and all of them in a sweep (`make test-all`)."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def swept(values: Iterable[Any], always: Collection[Any]) -> list[Any]:
    """Values for :func:`pytest.mark.parametrize`: those that are not in ``always`` are marked ``sweep``."""
    found = list(values)
    assert not set(always) - set(found), f"{set(always) - set(found)} is not there to be run"
    return [value if value in always else pytest.param(value, marks=pytest.mark.sweep) for value in found]

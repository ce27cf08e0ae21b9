"""The logical tensors of a whole: those of the networks that it is of, each had by its own config."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch

from peace_pipeline.weights.logical.coverage import joined_coverage
from peace_pipeline.weights.logical.tensors import LogicalTensors, NewValues


class JoinedTensors(LogicalTensors):
    """Logical tensors of several networks, each under its own names with a prefix before them."""

    def __init__(self, members: Mapping[str, LogicalTensors]) -> None:
        self._members = members
        self._owner = {
            f"{prefix}{name}": (member, name) for prefix, member in members.items() for name in member.tensors
        }
        self.tensors = {
            whole: replace(member.tensors[name], name=whole) for whole, (member, name) in self._owner.items()
        }
        self.coverage = joined_coverage({prefix: member.coverage for prefix, member in members.items()})

    @property
    def sampled(self) -> bool:
        """See :class:`LogicalTensors`."""
        return any(member.sampled for member in self._members.values())

    def read(self, name: str, dtype: torch.dtype | None = torch.float32) -> torch.Tensor:
        """See :class:`LogicalTensors`."""
        member, own = self._owner[name]
        return member.read(own, dtype)

    def rewritten(self, stored: str, new: NewValues) -> torch.Tensor | None:
        """See :class:`LogicalTensors`."""
        prefix = max((prefix for prefix in self._members if stored.startswith(prefix)), key=len)
        return self._members[prefix].rewritten(stored.removeprefix(prefix), _within(prefix, new))


def _within(prefix: str, new: NewValues) -> Callable[[str, torch.Tensor], torch.Tensor | None]:
    return lambda name, values: new(f"{prefix}{name}", values)

"""How PEACE reads a checkpoint, for people and as a JSON object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from peace_pipeline.lake import Lake
from peace_pipeline.symmetry.opening import open_network
from peace_pipeline.symmetry.wiring.types import Group, WiredLayer, Wiring
from peace_pipeline.weights.errors import UnreadableCheckpoint
from peace_pipeline.weights.logical.coverage import Coverage
from peace_pipeline.zoo.fetching import Fetcher


@dataclass(frozen=True)
class WiringReport:
    """How PEACE reads a checkpoint, in words why so, and which of its bytes are read."""

    wiring: Wiring
    reason: str
    coverage: Coverage

    def as_dict(self) -> dict[str, Any]:
        """Method, family, basis, what is assumed, reason, coverage (shares of bytes), groups and layers as a JSON
        object; what is as usual is left out of a group."""
        return {
            "method": self.wiring.method,
            "family": self.wiring.family,
            "basis": self.wiring.basis,
            "assumes": list(self.wiring.assumes),
            "reason": self.reason,
            "coverage": self.coverage.shares,
            "groups": [_group_as_dict(group) for group in self.wiring.groups.values()],
            "layers": [_layer_as_dict(wired) for wired in self.wiring.layers],
        }


def describe_wiring(lake: Lake, name: str, fetcher: Fetcher | None = None) -> WiringReport:
    """How PEACE reads the checkpoint that ``name`` stands for, as :func:`open_network` takes it.

    Raises:
        UnreadableCheckpoint: where it can't be read.
    """
    try:
        with open_network(lake, name, fetcher) as network:
            return WiringReport(network.wiring, network.reason, network.logical.coverage)
    except UnreadableCheckpoint as error:
        raise UnreadableCheckpoint(f"{name}: {error}") from error


def _group_as_dict(group: Group) -> dict[str, Any]:
    unusual = {"width": 1, "bundle": 1, "along": None, "parts": ()}
    more = {key: getattr(group, key) for key, usual in unusual.items() if getattr(group, key) != usual}
    return {"name": group.name, "size": group.size, "kind": group.kind, "actions": list(group.actions)} | more


def _layer_as_dict(wired: WiredLayer) -> dict[str, Any]:
    norms = {"norm": wired.norm, "before": wired.before}
    return {
        "name": wired.layer.name,
        "kind": wired.layer.kind,
        "shape": list(wired.layer.shape),
        "out_group": wired.out.group,
        "in_group": wired.into.group if wired.into else None,
    } | {key: norm.name for key, norm in norms.items() if norm}

"""Recurrent families, with torch's parameter names; gates are layers of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from peace_pipeline.symmetry.wiring.builder import WiringBuilder
from peace_pipeline.symmetry.wiring.families.registry import family
from peace_pipeline.symmetry.wiring.symmetries import PERMUTE, SIGN
from peace_pipeline.symmetry.wiring.types import Axis
from peace_pipeline.weights.conventions import conventions_of
from peace_pipeline.weights.conventions.recurrent import GRU, LSTM

_SIGNED = {"lstm": "g", "gru": "n"}
"""The gate whose tanh makes the state and has its signs; the others only move along with the state's units."""


@family(LSTM, GRU)
def recurrent(net: WiringBuilder) -> None:
    """LSTM (Hochreiter and Schmidhuber 1997) and GRU (Cho et al. 2014) over inputs or embedded tokens: any number of
    layers, one or both directions, then a linear layer.

    What stands behind the embedding, and before the linear layer, is known of PEACE's own zoo: nothing. In others it
    may be an activation, so their units there have no signs and are not mixed.
    """
    signed = _SIGNED[net.config["model_type"]]
    acts = "linear" if _is_ours(net.config) else None
    source = "input"
    if "embedding" in net:
        source = net.hidden("embedding", acts)
        net.table("embedding", "vocabulary", source)
    at = net.prefix("hh_l0")
    layers = net.numbered(f"{at}hh_l")
    for layer in layers:
        ways = [layer.removeprefix(f"{at}hh") + direction for direction in ("", "_reverse")]
        is_bare = acts is not None or layer != layers[-1]
        states = [_cell(net, at, way, source, is_bare) for way in ways if f"{at}hh{way}.{signed}" in net]
        source = states[0] if len(states) == 1 else net.joined(f"{layer}.both", states)
    net.dense("fc", "output", source)


def _is_ours(config: Mapping[str, Any]) -> bool:
    """Whether a config.json is one of PEACE's own zoo, which says what the inputs are like."""
    return "input_shape" in config and "num_labels" in config


def _cell(net: WiringBuilder, at: str, way: str, source: str, is_bare: bool) -> str:
    """One layer in one direction; the state that it writes, which may be projected (Sak et al. 2014). ``is_bare``: it
    is read as it is."""
    signed, gates = _SIGNED[net.config["model_type"]], conventions_of(net.config).gates
    hidden, projection = f"{at}hh{way}", f"{at}hr{way}"
    is_projected = projection in net
    cell = net.group(hidden, PERMUTE, *((SIGN,) if is_bare or is_projected else ()))
    state = net.hidden(projection, "linear" if is_bare else None) if is_projected else cell
    for part, reads in ((f"{at}ih{way}", source), (hidden, state)):
        net.dense(f"{part}.{signed}", cell, reads)
        for gate in gates.replace(signed, ""):
            net.dense(f"{part}.{gate}", Axis(cell, charge=0), reads)
    if is_projected:
        net.dense(projection, state, cell)
    return state

"""Recurrent families, with torch's parameter names; gates are layers of their own."""

from __future__ import annotations

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
    layers, one or both directions, then a linear layer."""
    signed = _SIGNED[net.config["model_type"]]
    source = "input"
    if "embedding" in net:
        source = net.hidden("embedding", "linear")
        net.table("embedding", "vocabulary", source)
    at = net.prefix("hh_l0")
    for layer in net.numbered(f"{at}hh_l"):
        ways = [layer.removeprefix(f"{at}hh") + direction for direction in ("", "_reverse")]
        states = [_cell(net, at, way, source) for way in ways if f"{at}hh{way}.{signed}" in net]
        source = states[0] if len(states) == 1 else net.joined(f"{layer}.both", states)
    net.dense("fc", "output", source)


def _cell(net: WiringBuilder, at: str, way: str, source: str) -> str:
    """One layer in one direction; the state that it writes, which may be projected (Sak et al. 2014)."""
    signed, gates = _SIGNED[net.config["model_type"]], conventions_of(net.config).gates
    hidden, projection = f"{at}hh{way}", f"{at}hr{way}"
    cell = net.group(hidden, PERMUTE, SIGN)
    state = net.hidden(projection, "linear") if projection in net else cell
    for part, reads in ((f"{at}ih{way}", source), (hidden, state)):
        net.dense(f"{part}.{signed}", cell, reads)
        for gate in gates.replace(signed, ""):
            net.dense(f"{part}.{gate}", Axis(cell, charge=0), reads)
    if projection in net:
        net.dense(projection, state, cell)
    return state

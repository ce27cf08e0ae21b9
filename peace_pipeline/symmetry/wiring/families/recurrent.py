"""Recurrent families, with torch's parameter names; gates are layers of their own."""

from __future__ import annotations

from peace_pipeline.symmetry.wiring.builder import WiringBuilder
from peace_pipeline.symmetry.wiring.families.registry import family
from peace_pipeline.symmetry.wiring.symmetries import PERMUTE, SIGN
from peace_pipeline.symmetry.wiring.types import Axis
from peace_pipeline.weights.conventions import conventions_of
from peace_pipeline.weights.conventions.recurrent import GRU, LSTM

_SIGNED = "gn"
"""Of the gates of LSTM and GRU those whose tanh makes the state and has its signs; the others only move along with the
state's units."""


@family(LSTM, GRU)
def recurrent(net: WiringBuilder) -> None:
    """LSTM (Hochreiter and Schmidhuber 1997) and GRU (Cho et al. 2014) over inputs or embedded tokens: any number of
    layers, one or both directions, then a linear layer.

    What stands behind the embedding, and before the linear layer, is known of PEACE's own zoo: nothing. In others it
    may be an activation, so their units there have no signs and are not mixed.
    """
    is_ours = "input_shape" in net.config and "num_labels" in net.config
    source = "input"
    if "embedding" in net:
        source = net.hidden("embedding", "linear" if is_ours else None)
        net.table("embedding", "vocabulary", source)
    last = (PERMUTE, SIGN) if is_ours else (PERMUTE,)
    gates = conventions_of(net.config).gates
    net.dense("fc", "output", cells(net, net.prefix("hh_l0"), source, last, gates))


def cells(net: WiringBuilder, at: str, source: str, last: tuple[str, ...], gates: str) -> str:
    """Wire the layers of a recurrent module (``at`` stands before their names) that reads ``source``; the state of its
    last layer, which has the actions ``last``. Without ``gates`` it is a plain one of unknown activation (Elman 1990).
    """
    layers = net.numbered(f"{at}hh_l")
    for layer in layers:
        ways = [layer.removeprefix(f"{at}hh") + direction for direction in ("", "_reverse")]
        inner = (PERMUTE, SIGN) if gates else (PERMUTE,)
        actions = last if layer == layers[-1] else inner
        present = [way for way in ways if f"{at}hh{way}{gates and f'.{gates[0]}'}" in net]
        states = [_cell(net, at, way, source, actions, gates) for way in present]
        source = states[0] if len(states) == 1 else net.joined(f"{layer}.both", states)
    return source


def _cell(net: WiringBuilder, at: str, way: str, source: str, actions: tuple[str, ...], gates: str) -> str:
    """One layer in one direction; the state that it writes, which has these ``actions`` and may be projected (Sak et
    al. 2014)."""
    hidden, projection = f"{at}hh{way}", f"{at}hr{way}"
    is_projected = projection in net
    cell = net.group(hidden, *((PERMUTE, SIGN) if is_projected else actions))
    state = cell
    if is_projected:
        state = net.hidden(projection, "linear") if SIGN in actions else net.group(projection, *actions)
    for part, reads in ((f"{at}ih{way}", source), (hidden, state)):
        if not gates:
            net.dense(part, cell, reads)
        for gate in sorted(gates, key=lambda gate: gate not in _SIGNED):
            net.dense(f"{part}.{gate}", cell if gate in _SIGNED else Axis(cell, charge=0), reads)
    if is_projected:
        net.dense(projection, state, cell)
    return state

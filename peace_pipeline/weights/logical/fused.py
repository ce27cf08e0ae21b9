"""Matrices that hold several layers: queries, keys and values in one, a gated unit's two halves, gates of a cell."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from peace_pipeline.weights.conventions import CONVENTIONS, conventions_of, number_in
from peace_pipeline.weights.conventions.facts import BY_CONFIG, BY_HEAD, ONE_BY_ONE
from peace_pipeline.weights.tensors import TensorInfo
from peace_pipeline.weights.views import Rows, Views, consecutive, taken, transposed

Config = Mapping[str, Any]
_Split = tuple[str, dict[str, Rows]]
"""A fused module, and the modules that are its parts with their rows."""

_USUAL = dict.fromkeys(("qkv", "qkv_proj", "attn_qkv", "Wqkv", "W_pack", "to_qkv", "c_attn"), ONE_BY_ONE)
"""Fused module → how it is laid out where a family doesn't have it otherwise."""

_HALVES = {"gate_up_proj": ("gate", "up"), "kv": ("k", "v"), "to_kv": ("k", "v")}
"""Fused module → its two parts, one after the other."""

_ROLES = ("weight", "bias", "lora_B.weight")
"""Members of a module that hold its parts' rows: also what LoRA adds to them."""
_MAX_HEADS = 1024
CONV1D = re.compile(r"(?:.*\.)?(?:c_attn|q_attn|c_proj|c_fc)\.weight")
_GATES = {len(each.gates): each.gates for each in CONVENTIONS.values() if each.gates}
"""Gates of a cell in their order, by number."""
_CELL = re.compile(r"((?:.*\.)?)hh((?:_l\d+)?(?:_reverse)?)\.weight")


def input_last(views: Views, config: Config) -> Views:
    """Views in which weights are (out, in, *kernel): GPT-2's ``Conv1D`` and transposed convolutions are (in, out).

    The latter are known by a bias that fits the second axis alone.
    """
    conv1d = _has_conv1d(views, config)
    result = dict(views)
    for name, view in views.items():
        shape = view.info.shape
        if len(shape) == 2 and conv1d and CONV1D.fullmatch(name):
            result[name] = transposed(view)
        elif len(shape) > 2 and shape[0] != shape[1] and name.endswith(".weight"):
            bias = views.get(f"{name.removesuffix('weight')}bias")
            if bias and bias.info.shape == shape[1:2]:
                result[name] = transposed(view)
    return result


def _has_conv1d(views: Views, config: Config) -> bool:
    """By the shape of a fused projection, which has more outputs than inputs; else by the config's model types."""
    fused = [view.info.shape for name, view in views.items() if name.endswith("c_attn.weight")]
    if fused:
        return any(len(shape) == 2 and shape[0] < shape[1] for shape in fused)
    parts = [config, *(part for part in config.values() if isinstance(part, Mapping))]
    return any(conventions_of(part).conv1d for part in parts)


def split(views: Views, config: Config) -> Views:
    """Views with the parts of each fused tensor in its place, under their own names.

    A module whose layout is not certain, or whose parts' names are taken, stays fused.
    """
    replaced: dict[str, Views] = {}
    names = set(views)
    for module, parts in _splits(views, config):
        members = {f"{module}.{role}": role for role in _ROLES}
        pieces = {
            member: _pieces(member, role, parts, views) for member, role in members.items() if member in views
        }
        new = [name for own in pieces.values() if own for name in own]
        if all(own is not None for own in pieces.values()) and names.isdisjoint(new):
            names.update(new)
            replaced |= {member: own for member, own in pieces.items() if own}
    result: Views = {}
    for name, view in views.items():
        result |= replaced.get(name, {name: view})
    return result


def _pieces(member: str, role: str, parts: dict[str, Rows], views: Views) -> Views | None:
    """Views on the parts of a member; none where it has another number of rows; ``None`` if it can't be."""
    view = views[member]
    if view.info.shape[:1] != (sum(rows.size for rows in parts.values()),):
        return {}
    pieces = {f"{module}.{role}": taken(view, rows) for module, rows in parts.items()}
    own: Views = {name: piece for name, piece in pieces.items() if piece is not None}
    return own if len(own) == len(parts) else None


def _splits(views: Views, config: Config) -> Iterator[_Split]:
    layouts = {**_USUAL, **conventions_of(config).fused}
    for name, view in views.items():
        info = view.info
        module, _, role = name.rpartition(".")
        if role not in ("weight", "bias") or not info.is_floating or 0 in info.shape:
            continue
        last = module.rpartition(".")[2]
        if role == "bias":
            if last == "qkv" and f"{module}.weight" not in views:
                yield from _beside_separate_weights(module, info, views)
        elif len(info.shape) == 2:
            if layout := layouts.get(last):
                yield from _attention(module, last, layout, info, config, views)
            elif last in _HALVES and info.shape[0] % 2 == 0:
                yield _siblings(module, _HALVES[last], consecutive([info.shape[0] // 2] * 2))
            elif cell := _CELL.fullmatch(name):
                yield from _gates(cell[1], cell[2], info, views)


def _siblings(module: str, names: Iterable[str], rows: Iterable[Rows]) -> _Split:
    parent, dot, _ = module.rpartition(".")
    return module, {f"{parent}{dot}{name}": own for name, own in zip(names, rows, strict=True)}


def _gates(cell: str, suffix: str, hidden: TensorInfo, views: Views) -> Iterator[_Split]:
    projection = views.get(f"{cell}hr{suffix}.weight")
    size = (projection.info if projection else hidden).shape[-1:]
    if size and size[0] and hidden.shape[0] % size[0] == 0:
        gates = _GATES.get(hidden.shape[0] // size[0], "")
        for module in (f"{cell}ih{suffix}", f"{cell}hh{suffix}") if gates else ():
            rows = consecutive(size * len(gates))
            yield module, {f"{module}.{gate}": own for gate, own in zip(gates, rows, strict=True)}


def _beside_separate_weights(module: str, bias: TensorInfo, views: Views) -> Iterator[_Split]:
    """nn.MultiheadAttention with keys of another width than queries: three weights, one bias."""
    parent = module.removesuffix("qkv")
    weights = [views.get(f"{parent}{part}.weight") for part in "qkv"]
    sizes = [weight.info.shape[0] for weight in weights if weight and weight.info.shape]
    if len(sizes) == len(weights) and all(sizes) and bias.shape == (sum(sizes),):
        yield _siblings(module, "qkv", consecutive(sizes))


def _attention(
    module: str, last: str, layout: str, info: TensorInfo, config: Config, views: Views
) -> Iterator[_Split]:
    heads = _heads(info, config)
    names = [f"attn_{part}" if last == "attn_qkv" else part for part in "qkv"]
    outputs, inputs = info.shape
    if layout == BY_CONFIG:
        layout = ONE_BY_ONE if heads and heads.keys == 1 else BY_HEAD
    if layout == BY_HEAD and heads:
        yield _siblings(module, names, heads.by_head())
    elif layout == ONE_BY_ONE and heads:
        yield _siblings(module, names, heads.one_by_one())
    elif layout == ONE_BY_ONE and (queries := _queries(module, views)) and queries < outputs <= 3 * queries:
        if (outputs - queries) % 2 == 0:
            yield _siblings(module, names, consecutive([queries, *[(outputs - queries) // 2] * 2]))
    elif layout == ONE_BY_ONE and outputs == 3 * inputs:
        yield _siblings(module, names, consecutive([inputs] * 3))
    elif last == "c_attn" and outputs == 2 * inputs:  # GPT-2's attention to another sequence
        yield _siblings(module, names[1:], consecutive([inputs] * 2))


def _queries(module: str, views: Views) -> int:
    """How many outputs are queries, by what the output projection beside them reads; 0 where there is none."""
    output = views.get(f"{module.rpartition('.')[0]}.o_proj.weight")
    return output.info.shape[1] if output and len(output.info.shape) == 2 else 0


@dataclass(frozen=True)
class _Heads:
    """Heads of queries, heads of keys (and as many of values), and the rows of each."""

    queries: int
    keys: int
    size: int

    def one_by_one(self) -> list[Rows]:
        return consecutive([self.queries * self.size, self.keys * self.size, self.keys * self.size])

    def by_head(self) -> list[Rows]:
        own = self.queries // self.keys * self.size
        starts = {0: own, own: self.size, own + self.size: self.size}
        return [Rows(start, width, own + 2 * self.size, self.keys) for start, width in starts.items()]


def _heads(info: TensorInfo, config: Config) -> _Heads | None:
    """The heads of a fused weight (out, in), where the config gives them and they make its rows."""
    hidden = number_in(config, "hidden_size", "n_embd", "n_embed", "d_model")
    queries = number_in(config, "num_attention_heads", "n_head", "n_heads")
    if queries is None or queries > _MAX_HEADS or hidden not in (None, info.shape[1]):
        return None
    keys = _key_heads(config) or queries
    size = number_in(config, "head_dim") or info.shape[1] // queries
    if not size or queries % keys or (queries + 2 * keys) * size != info.shape[0]:
        return None
    return _Heads(queries, keys, size)


def _key_heads(config: Config) -> int | None:
    if conventions_of(config).multi_query:
        if config.get("new_decoder_architecture") is not True:
            return 1 if config.get("multi_query", True) is True else None
        return number_in(config, "num_kv_heads")
    nested = config.get("attn_config")
    return number_in(config, "num_key_value_heads", "num_kv_heads") or (
        number_in(nested, "kv_n_heads") if isinstance(nested, Mapping) else None
    )

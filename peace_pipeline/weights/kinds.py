"""What kind of layer a name and a shape stand for, as far as they say."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

Shape = tuple[int, ...]

_CONVOLUTIONS = {3: "conv1d", 4: "conv2d", 5: "conv3d"}

_ATTENTION = {
    "attention_q": "q|q_proj|query|query_proj|q_lin|q_linear|linear_q|to_q|wq|w_q|attn_q|q_attn|q_a_proj|q_b_proj",
    "attention_k": "k|k_proj|key|key_proj|k_lin|k_linear|linear_k|to_k|wk|w_k|attn_k",
    "attention_v": "v|v_proj|value|value_proj|v_lin|v_linear|linear_v|to_v|wv|w_v|attn_v",
    "attention_o": "o|o_proj|out|out_proj|out_lin|out_linear|linear_out|to_out|wo|w_o|attn_output|attn_out"
    "|attention_output|dense|proj|c_proj|proj_attn|output|fc_out|projection",
    "attention_qkv": "qkv|qkv_proj|to_qkv|query_key_value|wqkv|Wqkv|W_pack|c_attn|attn_qkv|in_proj|kv|to_kv|kv_proj"
    "|key_value|kv_a_proj_with_mqa|kv_b_proj",
}
_ATTENTION_OF = {name: kind for kind, names in _ATTENTION.items() for name in names.split("|")}
"""Last component of a layer's name → its kind, in an attention."""
_IS_ATTENTION = re.compile(r"att(?:n|ention)", re.IGNORECASE)
_LORA = re.compile(r"lora(?:_|\.|_embedding_)(a|b|down|up)", re.IGNORECASE)
_RECURRENT = re.compile(r"(?:.*\.)?(?:ih|hh)(?:_l\d+)?(?:_reverse)?(?:\.[ifgorzn])?")
_EMBEDDING = re.compile(
    r"""(?!.*(?:patch|time|proj|mapping|embedder|out$))(?:
    .*embed.* | wte | wpe | (?:tok|token|type|pos|position|char|label)_(?:embd|emb) | token_types | emb
    | relative_attention_bias | relative_position_bias_table
    )""",
    re.VERBOSE | re.IGNORECASE,
)
_SHARED_EMBEDDINGS = frozenset({"shared", "model.shared"})
_TOKEN = re.compile(r"(?:.*_)?tokens?", re.IGNORECASE)
_NORM = re.compile(r"norm|(?:^|[._\d])(?:bn|ln|gn)(?:[._\d]|$)", re.IGNORECASE)
_BIAS = re.compile(r"(?:.*_)?bias(?:_.*)?|beta")
_EXPERTS = re.compile(r"(?:.*\.)?(?:experts\.[^.]+|\w+_exps)")


class Draft(NamedTuple):
    """A layer whose kind is not known yet: its name, its main tensor's, that one's shape, whether it has no other."""

    name: str
    tensor: str
    shape: Shape
    is_alone: bool


def kinds_of(layers: Iterable[Draft]) -> list[str]:
    """The kinds of layers, which are given in natural order of their names."""
    layers = list(layers)
    widths = {layer.shape[0] for layer in layers if len(layer.shape) > 1}
    parts: dict[str, set[str]] = defaultdict(set)
    for layer in layers:
        parent, last = _parent_and_last(layer.name)
        parts[parent].add(_ATTENTION_OF.get(last, ""))
    before: set[int] = set()
    previous = 0
    kinds = []
    for layer in layers:
        kind = _by_name(layer, parts) or _convolution(layer.shape, before, previous, widths)
        kinds.append(kind)
        if kind != "norm":
            previous = layer.shape[0]
            before.add(previous)
    return kinds


def _by_name(layer: Draft, parts: dict[str, set[str]]) -> str | None:
    """The kind as far as it doesn't depend on the layers before; ``parts`` is what each parent has of an attention."""
    name, shape = layer.name, layer.shape
    parent, last = _parent_and_last(name)
    role = layer.tensor.rpartition(".")[2]
    if len(shape) == 1:
        return _of_vector(name, role, last) if layer.is_alone else "norm"
    if lora := _LORA.search(name):
        return "lora_a" if lora[1].lower() in ("a", "down") else "lora_b"
    if len(shape) == 2 and _RECURRENT.fullmatch(name):
        return "recurrent"
    is_bare = role != "weight"
    if len(shape) == 2 and (_EMBEDDING.fullmatch(last) or name in _SHARED_EMBEDDINGS):
        return "embedding"
    if is_bare and (_EMBEDDING.fullmatch(last) or _TOKEN.fullmatch(last)):
        return "embedding"
    if _BIAS.fullmatch(role):
        return "tensor"
    if all(size == 1 for size in shape[2:]) and last in _ATTENTION_OF:
        found = _ATTENTION_OF[last]
        near = ".".join(parent.split(".")[-2:])
        if _IS_ATTENTION.search(f"{near}.{last}") or {"attention_q", "attention_k"} <= parts[parent]:
            return found
    if len(shape) == 2:
        return "linear"
    if _EXPERTS.fullmatch(name) or (is_bare and shape[0] == 1) or _NORM.search(last):
        return "tensor"
    return None


def _of_vector(name: str, role: str, last: str) -> str:
    if _EMBEDDING.fullmatch(last) or _TOKEN.fullmatch(last):
        return "embedding"
    return "tensor" if _BIAS.fullmatch(role) and not _NORM.search(name) else "norm"


def _convolution(shape: Shape, before: set[int], previous: int, widths: set[int]) -> str:
    """One input channel a filter is depthwise where an earlier layer has the width. Few input channels, which no
    layer gives, are those of a group where the layer just before has as many outputs as this, three groups or more.
    """
    out, into = shape[:2]
    if into == 1 and out in before:
        return "depthwise"
    if out == previous and into > 1 and out % into == 0 and out // into > 2 and into not in widths:
        return "grouped"
    return _CONVOLUTIONS.get(len(shape), "tensor")


def _parent_and_last(name: str) -> tuple[str, str]:
    """A layer's parent and its own last component that is no number: ``attn``, ``to_out`` for ``attn.to_out.0``."""
    components = name.split(".")
    while len(components) > 1 and components[-1].isdecimal():
        components.pop()
    return ".".join(components[:-1]), components[-1]

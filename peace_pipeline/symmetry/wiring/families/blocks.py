"""What transformers of several families have in common: blocks, streams and heads."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from peace_pipeline.symmetry.wiring.builder import WiringBuilder
from peace_pipeline.symmetry.wiring.symmetries import PERMUTE, SHUFFLE
from peace_pipeline.symmetry.wiring.types import Axis, WiringMismatch

_LANGUAGE_MODELS = (
    "LMHeadModel",
    "ForCausalLM",
    "ForMaskedLM",
    "ForConditionalGeneration",
    "ForPreTraining",
)

_DECODER_HEADS = ("lm_head", "embed_out", "score", "classifier", "qa_outputs")


@dataclass(frozen=True)
class Block:
    """Names of the layers of a block of self-attention (queries, keys, values, output) and hidden units, and of the
    norm that belongs to each; a ``gate`` stands beside ``up``."""

    attention: tuple[str, str, str, str]
    attention_norm: str
    up: str
    down: str
    norm: str
    gate: str | None = None

    def under(self, at: str) -> Block:
        """The block with ``at`` before each name."""
        q, k, v, o = (f"{at}.{name}" for name in self.attention)
        norms = f"{at}.{self.attention_norm}", f"{at}.{self.norm}"
        gate = self.gate and f"{at}.{self.gate}"
        return Block((q, k, v, o), norms[0], f"{at}.{self.up}", f"{at}.{self.down}", norms[1], gate)


def post_normed(net: WiringBuilder, block: Block, stream: str, heads: int, activation: str | None) -> None:
    """A block whose norms stand in the stream (Vaswani et al. 2017): their gains can't be moved."""
    net.attention(block.attention, stream, stream, heads)
    net.normed(stream, block.attention_norm, absorbed=False)
    net.mlp(block.up, block.down, stream, stream, activation, gate=block.gate)
    net.normed(stream, block.norm, absorbed=False)


def pre_normed(
    net: WiringBuilder, block: Block, stream: str, heads: int, activation: str | None, **attention: Any
) -> None:
    """A block whose norms are read by its linear layers alone; ``attention`` is for :meth:`WiringBuilder.attention`."""
    attended(net, block, stream, heads, **attention)
    fed_forward(net, block, stream, activation)


def attended(net: WiringBuilder, block: Block, stream: str, heads: int, **attention: Any) -> None:
    """The attention of a block whose norm is read by it alone."""
    net.attention(block.attention, net.normed(stream, block.attention_norm), stream, heads, **attention)


def fed_forward(net: WiringBuilder, block: Block, stream: str, activation: str | None) -> None:
    """The hidden units of a block whose norm is read by them alone."""
    net.mlp(block.up, block.down, net.normed(stream, block.norm), stream, activation, gate=block.gate)


def turned(net: WiringBuilder, width: int, usual: float = 1.0) -> int:
    """How many entries of a head rotary positions turn: the ``usual`` part of them where the config says none."""
    parameters = net.config.get("rope_parameters")
    places = [parameters, net.config] if isinstance(parameters, Mapping) else [net.config]
    found = (place.get(key) for place in places for key in ("partial_rotary_factor", "rotary_pct"))
    share = next((value for value in found if isinstance(value, float | int) and 0 <= value <= 1), usual)
    return 2 * math.ceil(int(width * share) / 2)


def experts(
    net: WiringBuilder, at: str, router: str, reads: str, writes: str, *, per: int = 1, actions: Iterable[str]
) -> str:
    """A mixture of experts (Shazeer et al. 2017), whose layers begin with ``at``: hidden units of all experts, of which
    the units follow the router's rows. Experts stay together that are chosen together, ``per`` of them; ``actions`` are
    free of each hidden unit beside its place. Gives the group of the experts.
    """
    own = net.group(f"{at}.experts", PERMUTE, bundle=per)
    net.dense(router, own, reads)
    size = net.rows(router)
    hidden = net.group(
        f"{at}.hidden", SHUFFLE, *actions, size=size, width=net.rows(f"{at}.up_proj") // size, along=own
    )
    net.dense(f"{at}.gate_proj", Axis(hidden, charge=0), reads)
    net.dense(f"{at}.up_proj", hidden, reads)
    net.dense(f"{at}.down_proj", writes, hidden)
    return own


def residual(net: WiringBuilder, name: str, is_inner: bool, *actions: str) -> str:
    """A stream; fixed where it is the network's output itself and no head reads it."""
    return net.group(name, PERMUTE, *actions) if is_inner else net.fixed(name)


def embedded(net: WiringBuilder, at: str, stream: str, tokens: str, *others: str) -> None:
    """An embedding of tokens (``at`` stands before its name), and ``others`` that are added to it where they exist."""
    net.table(f"{at}{tokens}", net.fixed("vocabulary"), stream)
    for other in others:
        if f"{at}{other}" in net:
            net.table(f"{at}{other}", other, stream)


def heads_of(net: WiringBuilder, *names: str) -> list[str]:
    """Those of the layers that are there as matrices (a bias alone may be left where the weight is tied)."""
    return [name for name in names if name in net and len(net.layers[name].shape) > 1]


def outputs(net: WiringBuilder, reads: str, *names: str) -> None:
    """Layers whose outputs are the network's."""
    for name in heads_of(net, *names):
        net.dense(name, f"{name}.output", reads)


def unembedded(net: WiringBuilder, stream: str, norm: str, heads: list[str]) -> None:
    """The last norm and the ``heads`` that read it; where there are none it is read by the tied embedding, or is the
    output itself."""
    outputs(net, net.normed(stream, norm, absorbed=bool(heads)), *heads)
    unread_biases(net, "lm_head")


def unread_biases(net: WiringBuilder, *names: str) -> None:
    """Biases of the words, where their weight is tied."""
    for name in names:
        if name in net and len(net.layers[name].shape) == 1:
            net.vector(name, Axis("vocabulary", charge=0))


def predicted(
    net: WiringBuilder, names: tuple[str, str, str], biases: tuple[str, ...], reads: str, embedding: str
) -> None:
    """The head of masked language models (Devlin et al. 2019): a hidden layer with a norm, then the embedding of the
    words; ``names`` are those of the hidden layer, its norm, and the last layer where that is not tied."""
    dense, norm, decoder = names
    if dense not in net:
        return
    if heads_of(net, decoder):
        hidden = net.group(f"{dense}.hidden", PERMUTE)
        net.dense(dense, hidden, reads)
        net.dense(decoder, "vocabulary", net.normed(hidden, norm))
    else:
        net.dense(dense, embedding, reads)
        net.normed(embedding, norm, absorbed=False)
    unread_biases(net, decoder, *biases)


def architecture(net: WiringBuilder) -> str:
    """The class that a config.json names first; empty where it names none."""
    names = net.config.get("architectures")
    return names[0] if isinstance(names, list) and names and isinstance(names[0], str) else ""


def is_language_model(net: WiringBuilder) -> bool:
    """Whether a network without a head of its own is a language model, whose head is its input embedding."""
    return architecture(net).endswith(_LANGUAGE_MODELS)


def decoder(net: WiringBuilder, first: str, *actions: str) -> tuple[str, str, list[str]]:
    """Of a decoder whose ``first`` block has this name: what stands before names, the stream, and the heads that are
    not tied.

    Raises:
        WiringMismatch: where it has no blocks.
    """
    at = net.prefix(first)
    if not net.numbered(f"{at}{first[:-1]}"):
        raise WiringMismatch("no layers")
    heads = heads_of(net, *_DECODER_HEADS)
    return at, residual(net, "stream", bool(heads) or is_language_model(net), *actions), heads

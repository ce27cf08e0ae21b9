"""Vision Transformers, with the names of timm and the Hub's transformers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from peace_pipeline.symmetry.wiring.activations import activation
from peace_pipeline.symmetry.wiring.builder import WiringBuilder, number
from peace_pipeline.symmetry.wiring.families.images import read_out
from peace_pipeline.symmetry.wiring.families.registry import family
from peace_pipeline.symmetry.wiring.symmetries import PERMUTE
from peace_pipeline.symmetry.wiring.types import Axis, WiringMismatch
from peace_pipeline.weights.conventions.vision_transformers import DEIT, SWIN, VIT


class _Names(NamedTuple):
    """How the layers of a block are called."""

    queries: str
    keys: str
    values: str
    output: str
    before_attention: str
    before_mlp: str
    up: str
    down: str
    position_bias: str


_VIT = _Names(
    "attention.attention.query", "attention.attention.key", "attention.attention.value", "attention.output.dense",
    "layernorm_before", "layernorm_after", "intermediate.dense", "output.dense", "",
)  # fmt: skip
_SWIN = _VIT._replace(
    queries="attention.self.query", keys="attention.self.key", values="attention.self.value",
    position_bias="attention.self.relative_position_bias_table",
)  # fmt: skip
_TIMM = _Names(
    "attn.q", "attn.k", "attn.v", "attn.proj", "norm1", "norm2", "mlp.fc1", "mlp.fc2",
    "attn.relative_position_bias_table",
)  # fmt: skip
_HEAD_WIDTHS = {"so400m": 72, "huge": 80, "giant": 88, "gigantic": 104}
"""Of timm's architectures, where it is not 64."""


@family(VIT, DEIT)
def vit(net: WiringBuilder) -> None:
    """Vision Transformers (Dosovitskiy et al. 2021), and DeiT with a second token and classifier (Touvron et al.
    2021); timm's may have registers (Darcet et al. 2023), a norm before their blocks, and attention that pools (Zhai et
    al. 2022). The norms of timm's ``rpn`` stand after what they norm."""
    at = net.prefix("embeddings.patch_embeddings.projection")
    is_timm = "patch_embed.proj" in net
    patches = "patch_embed.proj" if is_timm else f"{at}embeddings.patch_embeddings.projection"
    tokens = (
        ("cls_token", "dist_token", "reg_token", "pos_embed")
        if is_timm
        else (f"{at}embeddings.{name}" for name in ("cls_token", "distillation_token", "position_embeddings"))
    )
    stream = net.group("stream", PERMUTE)
    net.dense(patches, stream, "input")
    _tables(net, tokens, stream)
    if is_timm and "norm_pre" in net:
        net.vector("norm_pre", Axis(stream, charge=0))
    heads = _heads(net, net.rows(patches))
    for block in net.numbered("blocks." if is_timm else f"{at}encoder.layer."):
        _block(net, stream, block, _TIMM if is_timm else _VIT, heads)
    norm = next((name for name in ("norm", "fc_norm") if name in net), f"{at}layernorm")
    classifiers = ("classifier", "cls_classifier", "distillation_classifier", "head", "head_dist")
    if is_timm and "attn_pool.q" in net:
        read_out(
            net, _attended(net, stream, heads), *classifiers, norm="fc_norm" if "fc_norm" in net else None
        )
    else:
        read_out(net, stream, *classifiers, norm=norm)
    if f"{at}pooler.dense" in net:
        net.dense(f"{at}pooler.dense", "pooled", stream)


def _attended(net: WiringBuilder, stream: str, heads: int) -> str:
    """What timm's attention of a learned query to all positions gives."""
    at, query, pooled = "attn_pool", "attn_pool.query", net.group("attn_pool.pooled", PERMUTE)
    net.table(f"{at}.latent", f"{at}.latents", net.group(query, PERMUTE))
    names = (f"{at}.q", f"{at}.k", f"{at}.v", f"{at}.proj")
    net.attention(names, query, pooled, heads, memory=net.normed(stream, "norm"))
    hidden = net.normed(pooled, f"{at}.norm")
    net.mlp(f"{at}.mlp.fc1", f"{at}.mlp.fc2", hidden, pooled, activation(net.config))
    return pooled


def _tables(net: WiringBuilder, names: Iterable[str], stream: str) -> None:
    """Tokens and positions that are added to a stream, or stand in it."""
    for name in names:
        if name in net:
            net.table(name, f"{name}.rows", stream)


def _heads(net: WiringBuilder, size: int) -> int:
    """Number of heads: timm writes what differs from its architecture's own."""
    architecture, arguments = net.config.get("architecture"), net.config.get("model_args")
    if not isinstance(architecture, str):
        return net.number("num_attention_heads")
    given = arguments if isinstance(arguments, dict) else {}
    if "num_heads" in given or "embed_dim" in given:
        return number(given, "num_heads")
    name = architecture.split("_")[1]
    return size // _HEAD_WIDTHS.get(name, 64) or 1


def _block(net: WiringBuilder, stream: str, at: str, names: _Names, heads: int) -> None:
    """Attention and MLP, each after a norm of its own; timm's may have learned scales after them. Windows of an image
    that they don't fill are padded with zeros after the norm."""
    q, k, v, o, first, second, up, down, bias = (f"{at}.{name}" for name in names)
    scales = [f"{at}.ls{number}" if f"{at}.ls{number}" in net else None for number in (1, 2)]
    reads = net.normed(stream, first, padded=bias in net)
    own = net.attention((q, k, v, o), reads, stream, heads, scale=scales[0])
    if bias in net:
        net.table(bias, f"{bias}.rows", Axis(own, charge=0))
    net.mlp(up, down, net.normed(stream, second), stream, activation(net.config), scale=scales[1])


@family(SWIN)
def swin(net: WiringBuilder) -> None:
    """Transformers with attention in windows (Liu et al. 2021). Between stages four neighbouring positions are joined,
    before a stage or after it (older timm, transformers)."""
    at = net.prefix("embeddings.patch_embeddings.projection")
    is_timm = "patch_embed.proj" in net
    names = _TIMM if is_timm else _SWIN
    patches, norm = (
        ("patch_embed.proj", "patch_embed.norm")
        if is_timm
        else (f"{at}embeddings.patch_embeddings.projection", f"{at}embeddings.norm")
    )
    stream = net.group("stream.patches", PERMUTE)
    net.dense(patches, stream, "input")
    net.normed(stream, norm, absorbed=False)
    _tables(net, [f"{at}embeddings.position_embeddings"], stream)
    stages = net.numbered("layers." if is_timm else f"{at}encoder.layers.")
    merges_after = bool(stages) and f"{stages[0]}.downsample.reduction" in net
    for stage in stages:
        if not merges_after:
            stream = _merged(net, stream, stage)
        for block in net.numbered(f"{stage}.blocks."):
            bias = net.layers.get(f"{block}.{names.position_bias}")
            if bias is None:
                raise WiringMismatch(f"{block} has no position bias")
            _block(net, stream, block, names, heads=bias.shape[-1])
        if merges_after:
            stream = _merged(net, stream, stage)
    read_out(
        net,
        stream,
        *("classifier", "head", "head.fc"),
        norm="norm" if is_timm else f"{at}layernorm",
    )


def _merged(net: WiringBuilder, stream: str, stage: str) -> str:
    reduction, norm = f"{stage}.downsample.reduction", f"{stage}.downsample.norm"
    if reduction not in net:
        return stream
    four = net.joined(f"{norm}.in", [stream] * 4)
    merged = net.group(f"stream.{stage}", PERMUTE)
    net.dense(reduction, merged, net.normed(four, norm))
    return merged

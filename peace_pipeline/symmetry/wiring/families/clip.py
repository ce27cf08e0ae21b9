"""CLIP: a tower for images, one for texts, or both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from peace_pipeline.symmetry.wiring.activations import activation
from peace_pipeline.symmetry.wiring.builder import WiringBuilder, number
from peace_pipeline.symmetry.wiring.families.blocks import (
    Block,
    architecture,
    embedded,
    outputs,
    pre_normed,
    residual,
)
from peace_pipeline.symmetry.wiring.families.registry import family
from peace_pipeline.symmetry.wiring.types import Axis, WiringMismatch
from peace_pipeline.weights.conventions.clip import CLIP

_BLOCK = Block(
    ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.out_proj"),
    "layer_norm1",
    "mlp.fc1",
    "mlp.fc2",
    "layer_norm2",
)


@family(CLIP)
def clip(net: WiringBuilder) -> None:
    """CLIP (Radford et al. 2021): what the projections give is the output; of a tower with one, beside its stream."""
    towers = {"token_embedding": _texts, "patch_embedding": _images}
    found = [name for name in towers if f"{net.prefix(f'embeddings.{name}')}embeddings.{name}" in net]
    if not found:
        raise WiringMismatch("no tower")
    for name in found:
        towers[name](net, net.prefix(f"embeddings.{name}"))


def _texts(net: WiringBuilder, at: str) -> None:
    is_inner = "text_projection" in net and not _gives_stream(net)
    stream = residual(net, "text.stream", is_inner)
    embedded(net, f"{at}embeddings.", stream, "token_embedding", "position_embedding")
    _blocks(net, at, stream, {"num_attention_heads": 8} | _part(net, "text_config"))
    last = net.normed(stream, f"{at}final_layer_norm", absorbed=is_inner)
    outputs(net, last, "text_projection")


def _images(net: WiringBuilder, at: str) -> None:
    """A classifier reads the stream before its last norm, which is not used then."""
    is_projected, is_classified = "visual_projection" in net, "classifier" in net
    is_inner = (is_projected and not _gives_stream(net)) or is_classified
    stream = residual(net, "vision.stream", is_inner)
    net.vector(f"{at}embeddings.class_embedding", stream)
    net.dense(f"{at}embeddings.patch_embedding", stream, "channels")
    net.table(f"{at}embeddings.position_embedding", "vision.positions", stream)
    net.vector(f"{at}pre_layrnorm", Axis(stream, charge=0))
    _blocks(net, at, stream, {"num_attention_heads": 12} | _part(net, "vision_config"))
    last = net.normed(stream, f"{at}post_layernorm", absorbed=is_projected)
    outputs(net, last, "visual_projection")
    outputs(net, stream, "classifier")


def _gives_stream(net: WiringBuilder) -> bool:
    return architecture(net).endswith("WithProjection")


def _blocks(net: WiringBuilder, at: str, stream: str, config: Mapping[str, Any]) -> None:
    for layer in net.numbered(f"{at}encoder.layers."):
        pre_normed(
            net, _BLOCK.under(layer), stream, number(config, "num_attention_heads"), activation(config)
        )


def _part(net: WiringBuilder, key: str) -> dict[str, Any]:
    """The tower's own configuration: the whole one where there is one tower."""
    part = net.config.get(key)
    return part if isinstance(part, dict) else dict(net.config)

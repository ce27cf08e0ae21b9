"""ConvNeXt, with the names of torchvision, timm and the Hub's transformers."""

from __future__ import annotations

from typing import NamedTuple

from peace_pipeline.symmetry.wiring.activations import activation
from peace_pipeline.symmetry.wiring.builder import WiringBuilder
from peace_pipeline.symmetry.wiring.families.images import Pair, read_out
from peace_pipeline.symmetry.wiring.families.registry import family
from peace_pipeline.symmetry.wiring.symmetries import PERMUTE
from peace_pipeline.weights.conventions.convnext import CONVNEXT


class _ConvNeXt(NamedTuple):
    """How ConvNeXt's layers are called: ``down`` is between a stage and the numbers of its norm and convolution,
    ``blocks`` between a stage and its blocks' numbers; ``parts`` are depthwise convolution, norm, up, down, scale."""

    stem: Pair
    stages: str
    down: str
    blocks: str
    parts: tuple[str, str, str, str, str]
    last: str
    head: str


@family(CONVNEXT)
def convnext(net: WiringBuilder) -> None:
    """CNNs with the blocks of Transformers (Liu et al. 2022)."""
    names = _convnext_names(net)
    stream = net.group("stream.stem", PERMUTE)
    net.dense(names.stem[0], stream, "input")
    net.normed(stream, names.stem[1], absorbed=False)
    for stage in net.numbered(names.stages):
        norm, convolution = f"{stage}{names.down}.0", f"{stage}{names.down}.1"
        if norm in net and net.layers[norm].is_norm:
            reads = net.normed(stream, norm)
            stream = net.group(f"stream.{stage}", PERMUTE)
            net.dense(convolution, stream, reads)
        for block in net.numbered(f"{stage}{names.blocks}."):
            if f"{block}.{names.parts[0]}" in net:
                _convnext_block(net, stream, *(f"{block}.{part}".rstrip(".") for part in names.parts))
    read_out(net, stream, names.head, norm=names.last)


def _convnext_block(
    net: WiringBuilder, stream: str, depthwise: str, norm: str, up: str, down: str, scale: str
) -> None:
    wide = net.group(depthwise, along=stream)
    net.diagonal(depthwise, wide, stream)
    act, reads = activation(net.config), net.normed(wide, norm)
    if scale in net and len(net.layers[scale].shape) > 1:  # torchvision's (channels, 1, 1), a layer by itself
        inner = net.each(down, "linear", stream)
        net.mlp(up, down, reads, inner, act)
        net.diagonal(scale, stream, inner)
    else:
        net.mlp(up, down, reads, stream, act, scale=scale if scale in net else None)


def _convnext_names(net: WiringBuilder) -> _ConvNeXt:
    if "stem.0" in net:
        parts = ("conv_dw", "norm", "mlp.fc1", "mlp.fc2", "")  # the scale is the block's own "gamma"
        return _ConvNeXt(
            ("stem.0", "stem.1"), "stages.", ".downsample", ".blocks", parts, "head.norm", "head.fc"
        )
    if "features.0.0" in net:
        parts = ("block.0", "block.2", "block.3", "block.5", "layer_scale")
        return _ConvNeXt(
            ("features.0.0", "features.0.1"), "features.", "", "", parts, "classifier.0", "classifier.2"
        )
    at = net.prefix("embeddings.patch_embeddings")
    parts = ("dwconv", "layernorm", "pwconv1", "pwconv2", "layer_scale_parameter")
    return _ConvNeXt(
        (f"{at}embeddings.patch_embeddings", f"{at}embeddings.layernorm"),
        f"{at}encoder.stages.", ".downsampling_layer", ".layers", parts, f"{at}layernorm", "classifier",
    )  # fmt: skip

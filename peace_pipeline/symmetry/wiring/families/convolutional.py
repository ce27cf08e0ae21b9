"""Convolutional families, with the names of torchvision, timm and the Hub's transformers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from peace_pipeline.symmetry.wiring.builder import NOT_POOLED, WiringBuilder, activation
from peace_pipeline.symmetry.wiring.families.registry import family
from peace_pipeline.symmetry.wiring.symmetries import FLIP, PERMUTE
from peace_pipeline.symmetry.wiring.types import EPSILON, Axis, WiringMismatch

Pair = tuple[str, str]
"""A convolution and the BatchNorm after it."""


@family("resnet", timm=r"(wide_)?resnet\d+(_2)?$")
def resnet(net: WiringBuilder) -> None:
    """Residual CNNs (He et al. 2016): basic and bottleneck blocks.

    Blocks write the stream that they read, until one with a shortcut of its own starts another stream. After the stem
    comes max-pooling, but not in our own zoo's networks (which say what they read). Within transformers' blocks the
    activation is ReLU, whatever the config says.
    """
    act = activation(net.config) or "relu"
    at = net.prefix("embedder.embedder")
    on_hub = f"{at}embedder.embedder.convolution" in net
    inner = "relu" if on_hub else act
    stem = hub_pair(f"{at}embedder.embedder") if on_hub else ("conv1", "bn1")
    pooling = () if "input_shape" in net.config else NOT_POOLED
    stream = net.hidden("stream.stem", act, without=(FLIP, *pooling))
    net.dense(stem[0], stream, "input", stem[1])
    for block in _nested(net, *((f"{at}encoder.stages.", ".layers.") if on_hub else ("layer", "."))):
        parts = net.numbered(f"{block}.layer." if on_hub else f"{block}.conv")
        pairs = [hub_pair(part) if on_hub else (part, part.replace("conv", "bn")) for part in parts]
        if not pairs:
            raise WiringMismatch(f"{block} has no convolutions")
        down, norm = (
            hub_pair(f"{block}.shortcut") if on_hub else (f"{block}.downsample.0", f"{block}.downsample.1")
        )
        target = stream
        if down in net:
            target = net.hidden(f"stream.{block}", act, without=(FLIP,))
            net.dense(down, target, stream, norm)
        source = stream
        for convolution, norm in pairs:
            out = target if convolution == pairs[-1][0] else net.hidden(convolution, inner)
            net.dense(convolution, out, source, norm)
            source = out
        stream = target
    read_out(net, stream, "classifier.1" if on_hub else "fc")


def hub_pair(at: str) -> Pair:
    """The names that transformers gives."""
    return f"{at}.convolution", f"{at}.normalization"


def read_out(net: WiringBuilder, stream: str, *heads: str, norm: str | None = None) -> None:
    """The classifiers that read a stream, after its last ``norm``; where there are none, it is the output itself."""
    found = [head for head in heads if head in net]
    last = stream if found else net.fixed(stream)
    if norm:
        last = net.normed(last, norm, absorbed=bool(found))
    for head in found:
        net.dense(head, "output", last)


def _nested(net: WiringBuilder, outer: str, inner: str) -> Iterator[str]:
    return (block for stage in net.numbered(outer) for block in net.numbered(f"{stage}{inner}"))


@family("densenet", timm=r"densenet")
def densenet(net: WiringBuilder) -> None:
    """Densely connected CNNs (Huang et al. 2017): each layer reads all that came before it in its block, after a norm
    of its own; what it adds is linear."""
    act = activation(net.config) or "relu"

    def activated(parts: Iterable[str], norm: str) -> str:
        everything = net.joined(f"{norm}.in", parts)
        out = net.each(norm, act, everything)
        net.diagonal(norm, out, everything)
        return out

    parts = [net.hidden("features.conv0", act, without=NOT_POOLED)]
    net.dense("features.conv0", parts[0], "input", "features.norm0")
    for block in net.numbered("features.denseblock"):
        for layer in net.numbered(f"{block}.denselayer"):
            first, second = f"{layer}.conv1", f"{layer}.conv2"
            net.dense(first, net.hidden(first, act), activated(parts, f"{layer}.norm1"), f"{layer}.norm2")
            parts.append(net.hidden(second, "linear"))
            net.dense(second, parts[-1], first)
        transition = block.replace("denseblock", "transition")
        if f"{transition}.conv" in net:
            reads = activated(parts, f"{transition}.norm")
            parts = [net.hidden(f"{transition}.conv", "linear")]
            net.dense(f"{transition}.conv", parts[0], reads)
    read_out(net, activated(parts, "features.norm5"), "classifier")


class _Block(NamedTuple):
    """An inverted residual block; what it doesn't have is named all the same."""

    expand: Pair
    depthwise: Pair
    gate: Pair
    project: Pair


_NONE = ("", "")


class _Mobile(NamedTuple):
    """A network of inverted residual blocks."""

    stem: Pair
    blocks: list[_Block]
    last: Pair
    head: str


@family("mobilenet_v2", timm=r"mobilenetv2_")
def mobilenet(net: WiringBuilder) -> None:
    """Inverted residuals with linear bottlenecks (Sandler et al. 2018)."""
    _mobile(net, activation(net.config) or "relu6")


@family("efficientnet", timm=r"(tf_)?efficientnet_b\d")
def efficientnet(net: WiringBuilder) -> None:
    """Inverted residuals whose channels have gates (Tan and Le 2019)."""
    _mobile(net, activation(net.config) or "silu")


def _mobile(net: WiringBuilder, act: str) -> None:
    """Streams are linear; the first is what the stem's activation gives. A block that keeps a stream's size is taken
    to write to it, as it does where it has the stride 1. A config may have the last units max-pooled."""
    net.eps = _epsilon(net)
    parts = _on_hub(net) or _of_timm(net) or _of_torchvision(net)
    stream = net.hidden("stream.stem", act)
    net.dense(parts.stem[0], stream, "input", parts.stem[1])
    size = net.rows(parts.stem[0]) if not parts.stem[0].endswith(".first_conv.convolution") else 0
    for block in parts.blocks:
        project, norm = block.project
        reads = _depthwise(net, stream, block, act)
        if net.rows(project) != size:
            stream, size = net.hidden(f"stream.{project}", "linear"), net.rows(project)
        net.dense(project, stream, reads, norm)
    last, norm = parts.last
    net.dense(last, net.hidden(last, act, without=NOT_POOLED), stream, norm)
    read_out(net, last, parts.head)


def _depthwise(net: WiringBuilder, stream: str, block: _Block, act: str) -> str:
    """Hidden units of a block, which read each its own unit of the expanded stream."""
    expand, norm = block.expand
    if expand in net:
        net.dense(expand, net.hidden(expand, act), stream, norm)
        stream = expand
    depthwise, norm = block.depthwise
    wide = net.each(depthwise, act, stream)
    net.diagonal(depthwise, wide, stream, norm)
    squeeze, excite = block.gate
    if squeeze in net:
        net.dense(squeeze, net.hidden(squeeze, act), wide)
        net.dense(excite, Axis(wide, charge=0), squeeze)
    return wide


def _epsilon(net: WiringBuilder) -> float:
    """Of the BatchNorms: linear streams can't be mixed without it. timm's ports of TensorFlow's weights have 1e-3."""
    given = net.config.get("batch_norm_eps", net.config.get("layer_norm_eps"))
    if isinstance(given, float):
        return given
    return 1e-3 if str(net.config.get("architecture")).startswith("tf_") else EPSILON


def _on_hub(net: WiringBuilder) -> _Mobile | None:
    at = net.prefix("conv_stem.first_conv")
    if f"{at}conv_stem.first_conv.convolution" in net:
        parts = ("expand_1x1", "conv_3x3", "", "reduce_1x1")
        blocks = [f"{at}conv_stem", *net.numbered(f"{at}layer.")]
        return _Mobile(
            hub_pair(f"{at}conv_stem.first_conv"),
            [_Block(*(hub_pair(f"{block}.{part}") for part in parts)) for block in blocks],
            hub_pair(f"{at}conv_1x1"),
            "classifier",
        )
    at = net.prefix("embeddings.convolution")
    if f"{at}embeddings.convolution" not in net:
        return None
    return _Mobile(
        (f"{at}embeddings.convolution", f"{at}embeddings.batchnorm"),
        [
            _Block(
                (f"{block}.expansion.expand_conv", f"{block}.expansion.expand_bn"),
                (f"{block}.depthwise_conv.depthwise_conv", f"{block}.depthwise_conv.depthwise_norm"),
                (f"{block}.squeeze_excite.reduce", f"{block}.squeeze_excite.expand"),
                (f"{block}.projection.project_conv", f"{block}.projection.project_bn"),
            )
            for block in net.numbered(f"{at}encoder.blocks.")
        ],
        (f"{at}encoder.top_conv", f"{at}encoder.top_bn"),
        "classifier",
    )


def _of_timm(net: WiringBuilder) -> _Mobile | None:
    if "conv_stem" not in net:
        return None
    blocks = []
    for at in _nested(net, "blocks.", "."):
        expands = f"{at}.conv_pwl" in net
        names = ("conv_pw", "conv_dw", "conv_pwl") if expands else ("", "conv_dw", "conv_pw")
        first = 1 if expands else 0
        expand, depthwise, project = (
            (f"{at}.{name}", f"{at}.bn{number}") for number, name in enumerate(names, first)
        )
        blocks.append(_Block(expand, depthwise, (f"{at}.se.conv_reduce", f"{at}.se.conv_expand"), project))
    return _Mobile(("conv_stem", "bn1"), blocks, ("conv_head", "bn2"), "classifier")


def _of_torchvision(net: WiringBuilder) -> _Mobile:
    """Blocks have one sequence ``conv``: expansion (but in the first), depthwise convolution, projection, norm."""
    features = net.numbered("features.")
    blocks = []
    for block in features[1:-1]:
        parts = net.numbered(f"{block}.conv.")
        if len(parts) not in (3, 4):
            raise WiringMismatch(f"{block} is no inverted residual")
        *expand, depthwise = ((f"{part}.0", f"{part}.1") for part in parts[:-2])
        blocks.append(_Block(expand[0] if expand else _NONE, depthwise, _NONE, (parts[-2], parts[-1])))
    if not blocks:
        raise WiringMismatch("no blocks")
    stem, last = ((f"{part}.0", f"{part}.1") for part in (features[0], features[-1]))
    return _Mobile(stem, blocks, last, "classifier.1")


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


@family("convnext", timm=r"convnext_")
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

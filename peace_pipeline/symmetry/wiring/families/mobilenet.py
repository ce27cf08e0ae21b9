"""Inverted residuals: MobileNetV2 and EfficientNet, with the names of torchvision, timm and the Hub's transformers."""

from __future__ import annotations

from typing import NamedTuple

from peace_pipeline.symmetry.wiring.activations import NOT_POOLED, activation
from peace_pipeline.symmetry.wiring.builder import WiringBuilder
from peace_pipeline.symmetry.wiring.families.images import Pair, hub_pair, nested, read_out
from peace_pipeline.symmetry.wiring.families.registry import family
from peace_pipeline.symmetry.wiring.types import EPSILON, Axis, WiringMismatch
from peace_pipeline.weights.conventions.mobilenet import EFFICIENTNET, MOBILENET


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


@family(MOBILENET)
def mobilenet(net: WiringBuilder) -> None:
    """Inverted residuals with linear bottlenecks (Sandler et al. 2018)."""
    _mobile(net, activation(net.config) or "relu6")


@family(EFFICIENTNET)
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
    for at in nested(net, "blocks.", "."):
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

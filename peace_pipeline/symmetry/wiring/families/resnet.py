"""Residual CNNs, with the names of torchvision, timm and the Hub's transformers."""

from __future__ import annotations

from peace_pipeline.symmetry.wiring.activations import NOT_POOLED, activation
from peace_pipeline.symmetry.wiring.builder import WiringBuilder
from peace_pipeline.symmetry.wiring.families.images import hub_pair, nested, read_out
from peace_pipeline.symmetry.wiring.families.registry import family
from peace_pipeline.symmetry.wiring.symmetries import FLIP
from peace_pipeline.symmetry.wiring.types import WiringMismatch
from peace_pipeline.weights.conventions.resnet import RESNET


@family(RESNET)
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
    for block in nested(net, *((f"{at}encoder.stages.", ".layers.") if on_hub else ("layer", "."))):
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

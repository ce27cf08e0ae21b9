"""Convolutional families."""

from __future__ import annotations

from peace_pipeline.symmetry.families.registry import family
from peace_pipeline.symmetry.sketch import Sketch
from peace_pipeline.symmetry.wiring import WiringMismatch


@family("resnet", timm=r"resnet\d+")
def resnet(net: Sketch) -> None:
    """Residual CNNs (He et al. 2016): basic and bottleneck blocks, with torchvision's names.

    Blocks write the stream that they read, until one with a ``downsample`` starts another stream.
    """
    stream = "stream.stem"
    net.dense("conv1", stream, "input", "bn1")
    for stage in net.numbered("layer"):
        for block in net.numbered(f"{stage}."):
            convolutions = net.numbered(f"{block}.conv")
            if not convolutions:
                raise WiringMismatch(f"{block} has no convolutions")
            target = stream
            if f"{block}.downsample.0" in net:
                target = f"stream.{block}"
                net.dense(f"{block}.downsample.0", target, stream, f"{block}.downsample.1")
            source = stream
            for convolution in convolutions:
                out = target if convolution == convolutions[-1] else convolution
                net.dense(convolution, out, source, convolution.replace("conv", "bn"))
                source = out
            stream = target
    net.dense("fc", "output", stream)

"""Densely connected CNNs, with the names of torchvision and timm."""

from __future__ import annotations

from collections.abc import Iterable

from peace_pipeline.symmetry.wiring.activations import NOT_POOLED, activation
from peace_pipeline.symmetry.wiring.builder import WiringBuilder
from peace_pipeline.symmetry.wiring.families.images import read_out
from peace_pipeline.symmetry.wiring.families.registry import family
from peace_pipeline.weights.conventions.densenet import DENSENET


@family(DENSENET)
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

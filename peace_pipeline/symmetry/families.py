"""Wirings by family: a short table for each, from config.json's ``model_type`` and parameter names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby

from peace_pipeline.symmetry.wiring import Link
from peace_pipeline.zoo.record import natural

Family = Callable[[Iterable[str]], Iterator[Link]]
FAMILIES: dict[str, Family] = {}


def family(model_type: str) -> Callable[[Family], Family]:
    """Decorator: a function from layer names to links is the table of ``model_type``."""

    def add(table: Family) -> Family:
        FAMILIES[model_type] = table
        return table

    return add


@family("resnet")
def resnet(names: Iterable[str]) -> Iterator[Link]:
    """Residual CNNs with torchvision's names (He et al. 2016): basic and bottleneck blocks.

    Blocks write the stream that they read, until one with a ``downsample`` starts another stream.
    """
    names = list(names)
    stream = "stream.stem"
    yield Link("conv1", stream, "input", "bn1")
    blocks = sorted(
        {".".join(name.split(".")[:2]) for name in names if name.startswith("layer")}, key=natural
    )
    for block in blocks:
        convolutions = sorted(name for name in names if name.startswith(f"{block}.conv"))
        target = stream
        if f"{block}.downsample.0" in names:
            target = f"stream.{block}"
            yield Link(f"{block}.downsample.0", target, stream, f"{block}.downsample.1")
        source = stream
        for convolution in convolutions:
            out = target if convolution == convolutions[-1] else convolution
            yield Link(convolution, out, source, convolution.replace("conv", "bn"))
            source = out
        stream = target
    yield Link("fc", "output", stream)


def segments(names: Iterable[str]) -> list[list[str]]:
    """Names split by their first component, in natural order within each."""
    ordered = sorted(names, key=natural)
    return [list(part) for _, part in groupby(ordered, key=lambda name: name.split(".")[0])]

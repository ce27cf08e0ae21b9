"""What networks on images of several families have in common."""

from __future__ import annotations

from collections.abc import Iterator

from peace_pipeline.symmetry.wiring.builder import WiringBuilder

Pair = tuple[str, str]
"""A convolution and the BatchNorm after it."""


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


def nested(net: WiringBuilder, outer: str, inner: str) -> Iterator[str]:
    """The blocks of all stages: names that begin with ``outer``, a number, ``inner`` and a number."""
    return (block for stage in net.numbered(outer) for block in net.numbered(f"{stage}{inner}"))

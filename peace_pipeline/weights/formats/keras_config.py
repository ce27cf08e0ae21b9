"""A Keras network as its configuration describes it."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from peace_pipeline.weights.errors import CorruptFile


@dataclass(frozen=True)
class Node:
    """A layer as the configuration describes it; ``kind`` is its class in snake case.

    ``inner`` is the layer that it wraps, ``layers`` those that it holds by their names in the files: their own, and in
    Keras 3 their class, numbered. ``sources`` are the layers whose outputs it reads, in all its calls, and ``outputs``
    those that give the network's, where it isn't sequential.
    """

    kind: str
    config: dict[str, Any]
    name: str = ""
    inner: Node | None = None
    layers: Mapping[str, Node] = field(default_factory=dict)
    numbered: Mapping[str, Node] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()


def configuration(file: str, text: str | bytes) -> Node | None:
    """The network that a configuration in JSON describes (``model_config``, ``config.json``); ``None`` for no network.

    Raises:
        CorruptFile: where it is no JSON.
    """
    try:
        return _node(json.loads(text.decode() if isinstance(text, bytes) else text))
    except (ValueError, RecursionError) as error:
        raise CorruptFile(f"{file}: its configuration is no JSON ({type(error).__name__})") from error


def _node(document: Any) -> Node | None:
    if not isinstance(document, dict) or not isinstance(document.get("class_name"), str):
        return None
    kind, config = _snake_case(document["class_name"]), document.get("config")
    if isinstance(config, list):  # a Sequential before Keras 2.2.3
        config = {"layers": config}
    if not isinstance(config, dict):
        return Node(kind, {})
    held = config.get("layers") or config.get("cells")
    children = [node for node in map(_node, held if isinstance(held, list) else []) if node]
    numbered: dict[str, Node] = {}
    counts: Counter[str] = Counter()
    for child in children:
        numbered[f"{child.kind}_{counts[child.kind]}" if counts[child.kind] else child.kind] = child
        counts[child.kind] += 1
    return Node(
        kind,
        config,
        str(config.get("name", "")),
        _node(config.get("layer") or config.get("cell")),
        {child.name: child for child in children},
        numbered,
        tuple(_sources(document.get("inbound_nodes"))),
        tuple(_sources(config.get("output_layers"))),
    )


def _snake_case(name: str) -> str:
    """A class's name as Keras writes it in a file's paths: ``Conv2DTranspose`` → ``conv2d_transpose``."""
    parted = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", parted).lower()


def _sources(inbound: object) -> Iterator[str]:
    """The layers that ``inbound_nodes`` or ``output_layers`` name: by Keras 3's tensors with a history, or by lists of
    a name and two numbers."""
    if isinstance(inbound, dict):
        history = inbound.get("keras_history")
        if isinstance(history, list) and history and isinstance(history[0], str):
            yield history[0]
        else:
            for value in inbound.values():
                yield from _sources(value)
    elif isinstance(inbound, list):
        if len(inbound) >= 3 and isinstance(inbound[0], str) and isinstance(inbound[1], int):
            yield inbound[0]
            yield from _sources(inbound[3:])  # tensors that Keras 2 gives by keyword
        else:
            for value in inbound:
                yield from _sources(value)

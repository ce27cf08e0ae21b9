"""Which layer's units another layer of a Keras network reads, and nothing else does, as its configuration says."""

from __future__ import annotations

import json
from collections import Counter, defaultdict

from peace_pipeline.weights.formats.keras_config import Node
from peace_pipeline.weights.tensors import Passage

_TURNED = {f"conv{n}d_transpose" for n in (1, 2, 3)}
_CONVOLUTIONS = {f"conv{n}d" for n in (1, 2, 3)} | _TURNED
_MAPS = {"dense", *_CONVOLUTIONS}
_ALIKE = {
    None, "linear", "relu", "tanh", "sigmoid", "elu", "selu", "gelu", "silu", "swish", "softplus", "softsign", "mish",
    "exponential", "hard_sigmoid", "hard_silu", "hard_swish", "leaky_relu", "relu6", "celu", "softmax",
}  # fmt: skip
"""Activations under which all units are alike."""
_SAME = {
    "activation", "re_lu", "leaky_re_lu", "elu", "softmax", "dropout", "alpha_dropout", "gaussian_dropout",
    "gaussian_noise", "activity_regularization",
    *(f"{kind}{n}d" for kind in ("spatial_dropout", "zero_padding", "cropping", "up_sampling") for n in (1, 2, 3)),
    *(f"{kind}_pooling{n}d" for kind in ("max", "average", "global_max", "global_average") for n in (1, 2, 3)),
}  # fmt: skip
"""Layers that treat all units alike, each alone or over its places."""

_FUNCTIONS = {"re_lu": "relu", "leaky_re_lu": "leaky_relu", "elu": "elu", "softmax": "softmax"}
"""Layers that are activations, and their names as one within a layer."""
_SETTINGS = ("strides", "padding", "dilation_rate", "pool_size", "max_value", "recurrent_activation")
"""What else of a layer outputs depend on, and no shape tells."""
_USUAL = (None, 1, [1], [1, 1], [1, 1, 1], "valid", "sigmoid")
_LONGEST = 60
"""Characters of a setting."""


def functions(network: Node) -> Counter[str]:
    """How often a network has each activation, within a layer or as one, each way of pooling, and each setting of
    layers that outputs depend on."""
    found = Counter[str]()
    for node in (*network.layers.values(), *([network.inner] if network.inner else ())):
        found.update(functions(node))
    said = network.config.get("activation")
    if isinstance(said, str) and said != "linear":
        found[said] += 1
    elif network.kind in _FUNCTIONS or "pooling" in network.kind:
        slopes = [network.config.get(key) for key in ("negative_slope", "alpha")]
        named = (f" {slope:g}" for slope in slopes if isinstance(slope, float) and slope)
        found[_FUNCTIONS.get(network.kind, network.kind) + next(named, "")] += 1
    for key in _SETTINGS:
        if network.config.get(key) not in _USUAL:
            found[f"{key} {json.dumps(network.config[key], sort_keys=True)[:_LONGEST]}"] += 1
    return found


def passages(network: Node) -> list[Passage]:
    """The passages of a sequential network, or of a functional one's layers; none of any other.

    Activations aren't told: a network is wired as it is without its configuration. Channels that are flattened are not
    followed, since their places come first.
    """
    flow = _Flow(network)
    found = (flow.passage(name) for name in flow.calls if _is_map(network.layers[name]))
    return [passage for passage in found if passage]


class _Flow:
    def __init__(self, network: Node) -> None:
        self.layers, self.outputs = network.layers, network.outputs
        self.calls: dict[str, tuple[str, ...]] = {}
        """Layer → the layers whose outputs it reads, in all its calls."""
        if network.kind == "sequential":
            names = list(network.layers)
            self.calls = {name: (before,) for name, before in zip(names, ["", *names], strict=False)}
            self.outputs = tuple(names[-1:])
        elif network.kind in ("functional", "model") and network.outputs:
            self.calls = {name: layer.sources for name, layer in network.layers.items()}
        self.readers: dict[str, list[str]] = defaultdict(list)
        for name, sources in self.calls.items():
            for source in sources:
                self.readers[source].append(name)

    def passage(self, writer: str) -> Passage | None:
        """The passage that begins at a layer; none where its units branch or are mixed."""
        norm, name = None, writer
        is_plain = self.layers[writer].config.get("activation") in (None, "linear")
        while len(self.calls[name]) == 1 and _is_alike(self.layers[name]):
            if name in self.outputs:
                return Passage(writer, "", end="they come out of the network")
            if len(self.readers[name]) != 1:
                return None
            [name] = self.readers[name]
            if _is_map(self.layers[name]):
                return self._between(writer, name, norm)
            if self.layers[name].kind == "batch_normalization" and is_plain and not norm:
                norm = name
            elif self.layers[name].kind not in _SAME:
                return None
            is_plain = False
        return None

    def _between(self, writer: str, reader: str, norm: str | None) -> Passage | None:
        turned = tuple(name for name in (writer, reader) if self.layers[name].kind in _TURNED)
        is_called_once = len(self.calls[reader]) == 1
        return Passage(writer, reader, ("any",), norm, True, turned) if is_called_once else None


def _is_map(layer: Node) -> bool:
    settings = layer.config
    return (
        layer.kind in _MAPS
        and settings.get("data_format") in (None, "channels_last")
        and settings.get("groups", 1) == 1
        and not settings.get("lora_rank")
    )


def _is_alike(layer: Node) -> bool:
    """Whether a layer's activation treats all units alike, over the last axis."""
    activation = layer.config.get("activation")
    is_last = (
        layer.config.get("axis", -1) in (-1, [-1]) and layer.config.get("data_format") != "channels_first"
    )
    return (activation is None or isinstance(activation, str)) and activation in _ALIKE and is_last

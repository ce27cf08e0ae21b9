"""Classifiers of images by timm or torchvision, where one of them is installed, by config.json's ``architecture``.

A name is looked up in the library's own list; nothing that comes with a model is executed, and nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from peace_pipeline.responses.probes import InputSpec
from peace_pipeline.responses.runners.model import (
    CannotRun,
    Model,
    Ready,
    Seen,
    labels_of,
    no_more_than,
    read_by_last_linear_layer,
)
from peace_pipeline.responses.standard import NUMBERS
from peace_pipeline.weights.checkpoint import Checkpoint

_SIDE, _FIXED_SIDE = 128, 224
"""Of images: where any size would do, and where a network without a known size has its own."""
_AT_ONCE = 16
_FIXED = ("vit", "maxvit")
"""Families of torchvision that take one size alone."""
_UNSTORED = "num_batches_tracked"
"""Buffers that no answer depends on, so that a checkpoint may lack them."""

Build = Callable[[], nn.Module]


def takes(model: Model) -> bool:
    """See :class:`Runner`: a config.json in timm's manner."""
    config = model.config
    return isinstance(config.get("architecture"), str) and not isinstance(config.get("model_type"), str)


def load(model: Model) -> Ready:
    """See :class:`Runner`; of both libraries the first that has an architecture of this name and these tensors.

    Raises:
        CannotRun: where none has.
    """
    name, reason = model.config["architecture"], None
    for library, found in (("timm", _timm), ("torchvision", _torchvision)):
        if find_spec(library) is None or (made := found(name, model.config)) is None:
            continue
        build, spec = made
        try:
            module = _filled(build, model.checkpoint)
        except (CannotRun, RuntimeError, TypeError) as error:
            reason = reason or f"{library}'s {name}: {error}"
            continue
        labels = labels_of(model.config) or _label_names(model.config)
        return Ready(model.key, library, spec, module, _ask, labels, at_once=_AT_ONCE)
    raise CannotRun(reason or f"nothing here runs {name}: timm and torchvision are not installed or lack it")


def _timm(name: str, config: dict[str, Any]) -> tuple[Build, InputSpec] | None:
    import timm

    if not timm.is_model(name):
        return None
    given = config.get("model_args")
    arguments = dict(given) if isinstance(given, dict) else {}
    if refused := [
        key for key, value in arguments.items() if key.startswith("pretrained") or not _plain(value)
    ]:
        raise CannotRun(f"its config.json has {refused[0]}")
    known = {key: config[key] for key in ("num_classes", "global_pool") if key in config} | arguments
    own = timm.get_pretrained_cfg(name)
    said = config.get("pretrained_cfg")
    said = said if isinstance(said, dict) else {}
    size = said.get("input_size") or (own.input_size if own else (3, _FIXED_SIDE, _FIXED_SIDE))
    fixed = said.get("fixed_input_size", own.fixed_input_size if own else False)

    def build() -> nn.Module:
        return timm.create_model(name, pretrained=False, **known)

    return build, _spec(arguments.get("in_chans", size[0]), arguments.get("img_size", size[1:]), bool(fixed))


def _plain(value: Any) -> bool:
    """Whether it is a size or a switch, and so no code, file or address."""
    return isinstance(value, int | float) or (isinstance(value, list) and all(map(_plain, value)))


def _torchvision(name: str, config: dict[str, Any]) -> tuple[Build, InputSpec] | None:
    import torchvision.models as library

    if name not in library.list_models(module=library):
        return None
    classes = config.get("num_classes", 1000)

    def build() -> nn.Module:
        return library.get_model(name, weights=None, num_classes=classes)

    return build, _spec(3, _FIXED_SIDE, name.startswith(_FIXED))


def _spec(channels: Any, sides: Any, fixed: bool) -> InputSpec:
    height, width = sides if isinstance(sides, Sequence) else (sides, sides)
    return InputSpec(NUMBERS, (channels, height, width) if fixed else (channels, _SIDE, _SIDE))


def _filled(build: Build, checkpoint: Checkpoint) -> nn.Module:
    """The module with the checkpoint's tensors, which must be its own."""
    with no_more_than(checkpoint):
        module = build()
    wanted = module.state_dict()
    found = checkpoint.tensors
    if missing := [name for name in wanted if name not in found and not name.endswith(_UNSTORED)]:
        raise CannotRun(f"its weights have no {', '.join(missing[:5])}")
    if others := sorted(found.keys() - wanted.keys()):
        raise CannotRun(f"its module has no tensor {others[0]}")
    for name, info in found.items():
        if tuple(wanted[name].shape) != tuple(info.shape):
            raise CannotRun(f"its tensor {name} is not that of the module: {tuple(info.shape)}")
    if any(
        name not in wanted for name, _ in module.named_buffers()
    ):  # computed when it is built, and not stored
        with torch.random.fork_rng(devices=[]):
            module = build()
    state = {
        name: checkpoint.read(name, torch.float32 if info.is_floating else None)
        for name, info in found.items()
    }
    lacking = {
        name: torch.zeros_like(value, device="cpu") for name, value in wanted.items() if name not in state
    }
    module.load_state_dict(state | lacking, assign=True)
    return module.eval()


def _ask(modules: Sequence[nn.Module], inputs: Tensor) -> Seen:
    with read_by_last_linear_layer(modules[0]) as read:
        found = modules[0](inputs)
    if not isinstance(found, Tensor) or found.dim() < 2:
        raise CannotRun("it answers with no numbers for each input")
    found = found.mean(tuple(range(2, found.dim()))) if found.dim() > 2 else found
    if getattr(modules[0], "num_classes", None) == 0:
        return Seen(None, found[None])
    hidden = read[0] if read and read[0].dim() == 2 and len(read[0]) == len(inputs) else None
    return Seen(found[None], None if hidden is None else hidden[None])


def _label_names(config: dict[str, Any]) -> tuple[str, ...] | None:
    """timm's names of the outputs: a list of words, in their order."""
    names = config.get("label_names")
    return (
        labels_of({"id2label": {str(place): name for place, name in enumerate(names)}})
        if isinstance(names, list)
        else None
    )

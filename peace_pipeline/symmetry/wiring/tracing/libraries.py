"""Modules that an installed library can build from a config.json: without weights, and without anybody's own code.

A config may be hostile: it is read by a helper process with bounds on time and memory, in which a module may register
no more parameters than the checkpoint has, and which reaches no hub.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache, partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_module_registration_hook,
    register_module_parameter_registration_hook,
)

from peace_pipeline.symmetry.wiring.tracing.examples import examples, not_given
from peace_pipeline.symmetry.wiring.tracing.heads import as_seen
from peace_pipeline.symmetry.wiring.tracing.modules import Example, Shapes, wiring_of
from peace_pipeline.symmetry.wiring.tracing.naming import names_in_file
from peace_pipeline.symmetry.wiring.tracing.routers import with_routers
from peace_pipeline.symmetry.wiring.tracing.shrinking import narrower, smaller
from peace_pipeline.symmetry.wiring.tracing.trying import LARGEST, UNTRIED, tried, without
from peace_pipeline.symmetry.wiring.tracing.values import Reading, Values
from peace_pipeline.symmetry.wiring.types import Wiring, WiringMismatch
from peace_pipeline.weights.tensors import TensorInfo

SECONDS, PATIENCE = 60, 300
"""How long the helper may compute, and how long it is waited for; PyTorch and transformers load in 10 seconds."""
MEMORY = 2 << 30
_OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "CUDA_VISIBLE_DEVICES": "",
    "OMP_NUM_THREADS": "1",
}
_SPARE = 64
"""Parameters that a module may register beyond twice the tensors of the checkpoint (tied and replaced ones)."""
_MODULES_FOR_EACH = 32
_NUMBER = "__float__"
"""How transformers writes a number that JSON doesn't have: {"__float__": "Infinity"}."""
_PLAIN = {"attn_implementation": "eager", "experts_implementation": "batched_mm"}
"""How a module computes: in operations that are known, of which none depends on which experts are chosen."""
_FOREIGN = ("auto_map", "quantization_config", "backbone", "backbone_config", "trust_remote_code")


class UnknownClass(WiringMismatch):
    """A class that is none of an installed library's."""


_REFUSED: dict[int, type[WiringMismatch]] = {3: WiringMismatch, 4: UnknownClass}
"""The helper's exit codes where it has no wiring."""


def traced(tensors: Iterable[TensorInfo], config: Mapping[str, Any]) -> Wiring:
    """The wiring of the class of transformers that a config.json names, for a checkpoint with these logical tensors.

    Raises:
        UnknownClass: where the library isn't there, or doesn't have it.
        WiringMismatch: where it can't be followed, or is something with other tensors.
    """
    names = config.get("architectures")
    if not (isinstance(names, list) and names and isinstance(names[0], str)):
        raise UnknownClass("its config names no class")
    if find_spec("transformers") is None:
        raise UnknownClass("transformers, which may have its class, is not installed")
    shapes = {info.name: info.shape for info in tensors if info.is_floating}
    try:
        found = _asked(json.dumps([dict(config), shapes], sort_keys=True))
    except subprocess.TimeoutExpired as error:
        raise WiringMismatch(f"{names[0]} of transformers takes too long to be followed") from error
    except subprocess.CalledProcessError as error:
        raise WiringMismatch(f"the process that follows {names[0]} {_death(error)}") from error
    except (ValueError, RecursionError, OSError) as error:
        raise WiringMismatch(f"its config can't be given to transformers ({type(error).__name__})") from error
    if isinstance(found, WiringMismatch):
        raise type(found)(*found.args)
    return found


def _death(error: subprocess.CalledProcessError) -> str:
    """How the helper ended."""
    lines = error.stderr.decode(errors="replace").split("\n") if error.stderr else []
    last = next((line.strip() for line in reversed(lines) if line.strip()), "no word")
    if error.returncode < 0:
        name = signal.Signals(-error.returncode).name
        return f"computes for more than {SECONDS} seconds" if name == "SIGXCPU" else f"was ended by {name}"
    return f"failed: {last[:200]}"


@lru_cache(maxsize=256)
def _asked(question: str) -> Wiring | WiringMismatch:
    """What the helper answers: a wiring, or why there is none.

    Raises:
        subprocess.SubprocessError: where it died or took too long, which another time it may not.
    """
    answer = subprocess.run(
        [sys.executable, "-P", "-m", __name__],
        input=question.encode(),
        capture_output=True,
        timeout=PATIENCE,
        env=os.environ | _OFFLINE,
    )
    if answer.returncode in _REFUSED:
        why = " ".join(answer.stderr.decode(errors="replace").splitlines()[-1:])
        return _REFUSED[answer.returncode](why)
    answer.check_returncode()
    return Wiring.from_json(answer.stdout.decode())


def wiring_in_library(shapes: Shapes, config: Mapping[str, Any]) -> Wiring:
    """See :func:`traced`; in this process, without its bounds on time and memory.

    Raises:
        WiringMismatch: where the module isn't in the library, or is another.
    """
    values = Values()
    with _saying("transformers can't build it"):
        with _bounded(len(shapes)):
            module = _built(config, values)
        names = names_in_file(module, config)
    with _saying("it can't be followed"):
        wiring, taken = wiring_of(module, examples(module), config, shapes, names, values)
        wiring = replace(wiring, assumes=(*wiring.assumes, *not_given(module, taken)))
        return _tried(wiring, module, taken, config, names)


@contextmanager
def _saying(what: str) -> Iterator[None]:
    """Refuse with these words where anything fails."""
    try:
        yield
    except WiringMismatch:
        raise
    except Exception as error:
        raise WiringMismatch(f"{what}: {error or type(error).__name__}") from error


def _tried(
    wiring: Wiring, module: Any, taken: Sequence[Example], config: Mapping[str, Any], names: Mapping[str, str]
) -> Wiring:
    """The wiring without the claims that the module refutes, or a smaller one of the same class."""
    if not any(group.actions for group in wiring.groups.values()):
        return wiring
    if _size(module) <= LARGEST:
        return tried(wiring, lambda: _with_weights(module), taken, config, names)
    try:
        its, held = _smaller_tried(module)
    except Exception as error:
        why = f"{UNTRIED}: {str(error)[:200] or type(error).__name__}"
        return replace(as_seen(wiring), assumes=(*wiring.assumes, why))
    wiring = replace(
        with_routers(wiring, config), assumes=tuple(dict.fromkeys([*wiring.assumes, *held.assumes]))
    )
    return without(wiring, its, held)


def _smaller_tried(module: Any) -> tuple[Wiring, Wiring]:
    """The wiring of a module of the same class with fewer blocks, or narrower ones, before and after it was tried.

    Raises:
        WiringMismatch: where none can be built that is small enough.
    """
    settings = _own(json.loads(module.config.to_json_string(use_diff=False)))
    failure: Exception = WiringMismatch("none of its class is small enough")
    for fewer in (smaller(settings), *narrower(settings)):
        values = Values()
        try:
            small = _of_settings(type(module), type(module.config).from_dict(fewer), values)
            if _size(small) <= LARGEST:
                names = names_in_file(small, fewer)
                its, taken = wiring_of(small, examples(small), fewer, None, names, values)
                return with_routers(its, fewer), tried(
                    its, partial(_with_weights, small), taken, fewer, names
                )
        except Exception as error:
            failure = error
    raise failure


def _size(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _built(config: Mapping[str, Any], values: Values) -> nn.Module:
    """The module on the meta device, and the ``values`` of its constants.

    Raises:
        WiringMismatch: where the class is none of the library's models for this ``model_type``.
    """
    import transformers
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    kind, name = config.get("model_type"), config["architectures"][0]
    model = getattr(transformers, name, None)
    if not (isinstance(model, type) and issubclass(model, transformers.PreTrainedModel)):
        raise UnknownClass(f"{name} is no model of the transformers that is installed")
    if (
        not isinstance(kind, str)
        or kind not in CONFIG_MAPPING
        or model.config_class is not CONFIG_MAPPING[kind]
    ):
        raise WiringMismatch(f"{name} is no {kind}")
    settings = model.config_class.from_dict(_own(dict(config)))
    return _of_settings(model, settings, values)


def _of_settings(model: Any, settings: Any, values: Values) -> nn.Module:
    """The module of a class on the meta device, and the ``values`` of its constants."""
    _without_cache(settings)
    with torch.device("meta"), Reading(values), values:
        return model._from_config(settings, **_PLAIN, dtype=torch.float32).eval()


def _with_weights(module: Any) -> nn.Module:
    """The same module with random weights."""
    return type(module)._from_config(module.config, **_PLAIN, dtype=torch.float64).double()


def _without_cache(settings: Any) -> None:
    """Set off caches in a config and in those within it."""
    settings.use_cache = False
    for name in getattr(settings, "sub_configs", ()):
        if (inner := getattr(settings, name, None)) is not None:
            _without_cache(inner)


def _own(config: Any) -> Any:
    """A config without what names code, kernels or models from elsewhere."""
    if isinstance(config, list):
        return [_own(item) for item in config]
    if not isinstance(config, dict):
        return config
    if config.keys() == {_NUMBER}:
        return float(config[_NUMBER])
    return {
        key: _own(value)
        for key, value in config.items()
        if (key not in _FOREIGN or _is_own_backbone(key, value))
        and not key.startswith("_")
        and "implementation" not in key
    }


def _is_own_backbone(key: str, value: Any) -> bool:
    """Whether a part of a config describes a backbone of the library's own, to be built without weights."""
    return key == "backbone_config" and isinstance(value, dict) and "timm" not in str(value.get("model_type"))


@contextmanager
def _bounded(tensors: int) -> Iterator[None]:
    """Let modules register no more parameters and parts than a checkpoint with so many tensors can have."""
    left = {"parameters": 2 * tensors + _SPARE, "modules": _MODULES_FOR_EACH * (tensors + _SPARE)}

    def count(what: str) -> None:
        left[what] -= 1
        if left[what] < 0:
            raise WiringMismatch(f"the config gives more {what} than the checkpoint")

    def parameter(module: nn.Module, name: str, value: Tensor | None) -> None:
        count("parameters")

    def part(module: nn.Module, name: str, value: nn.Module | None) -> None:
        count("modules")

    hooks = [
        register_module_parameter_registration_hook(parameter),
        register_module_module_registration_hook(part),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _bound_process() -> None:
    """Limit this process' time and memory, where the system can."""
    import resource

    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))


def _main() -> int:
    """The helper: config and shapes on stdin, a wiring on stdout."""
    if sys.platform != "win32":
        _bound_process()
    config, shapes = json.load(sys.stdin)
    try:
        wiring = wiring_in_library({name: tuple(shape) for name, shape in shapes.items()}, config)
    except WiringMismatch as error:
        print("", " ".join(str(error).split()), sep="\n", file=sys.stderr)
        return next(code for code, kind in _REFUSED.items() if kind is type(error))
    sys.stdout.write(wiring.to_json())
    return 0


if __name__ == "__main__":
    sys.exit(_main())

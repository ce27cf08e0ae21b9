"""Every way to run a network, the first that fits a model is the one."""

from __future__ import annotations

from typing import Protocol

from peace_pipeline.responses.runners import images, onnx, trained, transformers
from peace_pipeline.responses.runners.model import CannotRun, Model, Ready


class Runner(Protocol):
    """A way to run networks: ``takes`` says whether a model is of its kind, ``load`` makes it ready."""

    def takes(self, model: Model) -> bool: ...

    def load(self, model: Model) -> Ready: ...


RUNNERS: dict[str, Runner] = {
    "onnx": onnx,
    "trained": trained,
    "transformers": transformers,
    "images": images,
}


def load(model: Model) -> Ready:
    """The model, ready to be run by the first runner that takes it.

    Raises:
        CannotRun: where none does, or it can't.
    """
    runner = next((runner for runner in RUNNERS.values() if runner.takes(model)), None)
    if runner is None:
        said = model.config.get("model_type") or next(iter(model.config.get("architectures") or ()), None)
        raise CannotRun(f"nothing here runs {said}" if said else "no config.json says what it is")
    return runner.load(model)

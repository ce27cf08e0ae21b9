"""Every model class of the installed transformers, small and with random weights."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .examples import examples, function
from .small import small_configs
from .subject import Inputs, Outputs, Subject, Unbuildable, randomise

LARGEST = 8_000_000
"""Parameters, above which a model isn't small."""
_EAGER = {"attn_implementation": "eager", "experts_implementation": "eager", "dtype": torch.float64}
_LAST = (
    "QUESTION_ANSWERING",
    "TOKEN_CLASSIFICATION",
    "MULTIPLE_CHOICE",
    "NEXT_SENTENCE",
    "SEQUENCE_CLASSIFICATION",
)
"""Heads that stand on what others stand on too."""


@dataclass(frozen=True)
class Library(Subject):
    """A model class of transformers; ``kind`` is its model type."""

    def build(self, seed: int = 0) -> nn.Module:
        """The first of its small configurations that can be built and run."""
        reasons = []
        for config in small_configs(self._class.config_class):
            try:
                if isinstance(config, Exception):
                    raise config
                module = self._built(config, seed)
                module.examples = examples(module, self.run)  # type: ignore[assignment]
                return module
            except Exception as error:
                reasons.append(f"{type(error).__name__}: {error}".split("\n")[0])
        raise Unbuildable(reasons[0])

    @property
    def _class(self) -> Any:
        import transformers

        return getattr(transformers, self.name)

    def _built(self, config: Any, seed: int) -> nn.Module:
        with torch.device("meta"):
            size = sum(x.numel() for x in self._class._from_config(config, **_EAGER).parameters())
        if size > LARGEST:
            raise Unbuildable(f"{size:,} parameters are not few")
        torch.manual_seed(seed)
        module = self._class._from_config(config, **_EAGER).double().eval().requires_grad_(False)
        randomise(module, torch.Generator().manual_seed(seed))
        return module

    def inputs(self, module: nn.Module) -> list[Inputs]:
        return module.examples  # type: ignore[return-value]

    @torch.no_grad()
    def run(self, module: nn.Module, inputs: Inputs) -> Outputs:
        torch.manual_seed(0)
        return function(module(**{name: x.clone() for name, x in inputs.items()}))

    def save(self, module: nn.Module, path: Path) -> Path:
        module.save_pretrained(path)  # type: ignore[operator]
        return path

    def load(self, path: Path) -> nn.Module:
        module = self._class.from_pretrained(path, **_EAGER)
        return module.double().eval().requires_grad_(False)


@cache
def library() -> dict[str, Library]:
    """The model classes of transformers' AutoModels by name, one of each model type first."""
    from transformers.models.auto import modeling_auto
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    mappings = {
        name: mapping
        for name, mapping in vars(modeling_auto).items()
        if name.endswith("_MAPPING_NAMES") and mapping is not CONFIG_MAPPING_NAMES
    }
    order = sorted(
        mappings, key=lambda name: (any(last in name for last in _LAST), name == "MODEL_MAPPING_NAMES")
    )
    found: dict[str, Library] = {}
    for name in order:
        for kind, classes in mappings[name].items():
            for each in [classes] if isinstance(classes, str) else classes:
                found.setdefault(each, Library(each, kind))
    first: dict[str, str] = {}
    for each in found.values():
        first.setdefault(each.kind, each.name)
    return {name: found[name] for name in dict.fromkeys([*first.values(), *found])}

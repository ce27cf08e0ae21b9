"""Specimens of LoRA, over the models of transformers: PEFT's adapter folder, and base and adapter in one file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from .definitions import LoraLinear
from .pretrained import PRETRAINED
from .specimen import Config, Inputs, Specimen, filled, randomise, write

PREFIX, ADAPTER = "base_model.model.", ".default"


@dataclass(frozen=True)
class LoraSpecimen(Specimen):
    """Another specimen whose linear layers of the names ``targets`` have factors of rank 3 beside them.

    The file is the state dictionary of PEFT's whole model; config.json is the base's.
    """

    base: Specimen
    targets: tuple[str, ...]
    rank: int = 3
    alpha: int = 6

    def make(self) -> nn.Module:
        return self.adapted(self.base.make())

    def adapted(self, module: nn.Module) -> nn.Module:
        """The module with its target layers wrapped, in place."""
        for name, layer in list(module.named_modules()):
            parent, _, last = name.rpartition(".")
            if last in self.targets:
                setattr(
                    module.get_submodule(parent), last, LoraLinear(layer, self.rank, self.alpha / self.rank)
                )
        return module

    def config(self) -> Config:
        return self.base.config()

    def save(self, module: nn.Module, folder: Path) -> None:
        write(folder, {PREFIX + name: x for name, x in module.state_dict().items()}, self.config())

    def load(self, folder: Path) -> nn.Module:
        state = load_file(folder / "model.safetensors")
        return filled(self.make(), {name.removeprefix(PREFIX): x for name, x in state.items()})

    def outputs(self, module: nn.Module, inputs: Inputs) -> list[Tensor]:
        return self.base.outputs(module, inputs)


@dataclass(frozen=True)
class AdapterSpecimen(LoraSpecimen):
    """The adapter alone: adapter_config.json and adapter_model.safetensors, over the base of seed 0."""

    def build(self, seed: int, dtype: torch.dtype = torch.float64) -> nn.Module:
        module = self.adapted(self.base.build(0)).double().eval().requires_grad_(False)
        generator = torch.Generator().manual_seed(seed)
        for part in module.modules():
            if isinstance(part, LoraLinear):
                randomise(part.lora_A, generator)
                randomise(part.lora_B, generator)
        return module.to(dtype)

    def config(self) -> Config:
        return {
            "peft_type": "LORA", "r": self.rank, "lora_alpha": self.alpha, "use_rslora": False, "bias": "none",
            "target_modules": list(self.targets), "fan_in_fan_out": False, "lora_dropout": 0.0,
            "base_model_name_or_path": self.base.config()["architectures"][0], "modules_to_save": None,
        }  # fmt: skip

    def save(self, module: nn.Module, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        state = {
            PREFIX + name.replace(ADAPTER, ""): x
            for name, x in module.state_dict().items()
            if ".lora_" in name
        }
        save_file(state, folder / "adapter_model.safetensors")
        (folder / "adapter_config.json").write_text(json.dumps(self.config(), indent=2))

    def load(self, folder: Path) -> nn.Module:
        adapter = {
            name.removeprefix(PREFIX).replace(".weight", f"{ADAPTER}.weight"): x
            for name, x in load_file(folder / "adapter_model.safetensors").items()
        }
        module = self.build(0, next(iter(adapter.values())).dtype)
        state = module.state_dict()
        if adapter.keys() != {name for name in state if ".lora_" in name}:
            raise ValueError(f"{folder} does not hold the adapter of {self.targets}")
        module.load_state_dict({**state, **adapter})
        return module


_LLAMA, _BERT = PRETRAINED["llama"], PRETRAINED["bert_classifier"]
_TARGETS = ("q_proj", "v_proj", "up_proj", "down_proj")
LORA: dict[str, Specimen] = {
    "llama_lora": LoraSpecimen(_LLAMA.feed, _LLAMA, _TARGETS),
    "llama_lora_adapter": AdapterSpecimen(_LLAMA.feed, _LLAMA, _TARGETS),
    "bert_lora_adapter": AdapterSpecimen(_BERT.feed, _BERT, ("query", "value")),
}

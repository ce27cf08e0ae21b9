"""A stand-in Hub with one repository, and clients of it."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from huggingface_hub import HfApi
from safetensors.torch import save

STATE = {"0.weight": torch.arange(6.0).reshape(3, 2), "1.bias": torch.ones(4, dtype=torch.float16)}

WEIGHTS = save(STATE)

CONFIG = json.dumps({"architectures": ["Mlp"], "model_type": "mlp", "hidden_act": "relu"}).encode()

CARD = b"""---
library_name: peace
pipeline_tag: image-classification
license: mit
datasets: [mnist1d]
base_model: org/base
tags: [tiny]
model-index:
- name: a
  results: []
---
# A network
"""

FILES = {"config.json": CONFIG, "model.safetensors": WEIGHTS, "README.md": CARD, "logs/run.txt": b"done"}


def download(api: HfApi, cache: Path, name: str = "model.safetensors", revision: str | None = None) -> Path:
    return Path(api.hf_hub_download("org/a", name, revision=revision, cache_dir=cache))

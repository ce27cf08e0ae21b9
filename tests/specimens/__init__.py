"""Small random networks of every family, to prove a symmetry by running the real module before and after.

FAMILIES[name] is a ``Specimen``: build(seed), inputs(seed), run(module, inputs), config(), save(module, folder)
and load(folder). Libraries are imported when a specimen is asked for, not before.
"""

from __future__ import annotations

from .lora import LORA
from .plain import PLAIN
from .pretrained import PRETRAINED
from .specimen import Specimen

FAMILIES: dict[str, Specimen] = PLAIN | PRETRAINED | LORA

REPRESENTATIVES = (
    "mlp_relu", "mlp_relu6", "mlp_linear", "mlp_tanh", "mlp_sigmoid", "cnn", "vgg_bn", "resnet_basic", "densenet",
    "mobilenet_v2", "efficientnet_timm", "convnext", "convnext_timm", "vit_timm", "deit_hf", "swin_timm", "lstm",
    "zoo_text_lstm", "zoo_text_gru", "clip", "bert_classifier", "roberta_classifier", "distilbert_classifier",
    "albert_mlm", "gpt2", "gpt_neox", "llama", "llama_tied", "mistral", "qwen2", "qwen3", "gemma", "t5", "t5_gated",
    "whisper", "llama_lora", "llama_lora_adapter",
)  # fmt: skip
"""Specimens that together have all families, actions, kinds of layers and norms; the others run in sweeps."""

__all__ = ["FAMILIES", "REPRESENTATIVES", "Specimen"]

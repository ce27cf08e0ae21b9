"""Transformers over image patches (ViT) and over tokens (BERT), with the parameter names of their libraries.

``models`` networks form one module. Inside, the networks come first: hidden states are (models, batch · tokens,
size), and the attention heads of all networks are one batch of heads.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .layers import ACTIVATIONS, Embedding, LayerNorm, Linear


class _SelfAttention(nn.Module):
    def __init__(self, config: dict[str, Any], models: int) -> None:
        super().__init__()
        size, self.heads = config["hidden_size"], config["num_attention_heads"]
        self.query, self.key, self.value = (Linear(size, size, models) for _ in range(3))

    def forward(self, x: Tensor, tokens: int) -> Tensor:
        models, rows, size = x.shape
        split = (models * rows // tokens, tokens, self.heads, size // self.heads)
        q, k, v = (part.each(x).view(split).transpose(1, 2) for part in (self.query, self.key, self.value))
        mixed = F.scaled_dot_product_attention(q, k, v)
        return mixed.transpose(1, 2).reshape(models, rows, size)


class _Dense(nn.Module):
    """A linear layer under the name ``dense``, where BERT adds a norm of the same block."""

    def __init__(self, inputs: int, outputs: int, models: int, eps: float | None = None) -> None:
        super().__init__()
        self.dense = Linear(inputs, outputs, models)
        if eps is not None:
            self.LayerNorm = LayerNorm(outputs, models, eps)

    def forward(self, x: Tensor) -> Tensor:
        return self.dense.each(x)


class _Attention(nn.Module):
    """Self-attention under the name that its library gives it, and the output's linear map."""

    def __init__(self, inner: str, config: dict[str, Any], models: int, eps: float | None) -> None:
        super().__init__()
        self.inner, size = inner, config["hidden_size"]
        self.add_module(inner, _SelfAttention(config, models))
        self.output = _Dense(size, size, models, eps)

    def forward(self, x: Tensor, tokens: int) -> Tensor:
        return self.output(self.get_submodule(self.inner)(x, tokens))


class _ViTLayer(nn.Module):
    """Norms before attention and MLP."""

    def __init__(self, config: dict[str, Any], models: int) -> None:
        super().__init__()
        size, wide, eps = config["hidden_size"], config["intermediate_size"], config["layer_norm_eps"]
        self.layernorm_before = LayerNorm(size, models, eps)
        self.attention = _Attention("attention", config, models, None)
        self.layernorm_after = LayerNorm(size, models, eps)
        self.intermediate, self.output = _Dense(size, wide, models), _Dense(wide, size, models)
        self.act = ACTIVATIONS[config["hidden_act"]]()

    def forward(self, x: Tensor, tokens: int) -> Tensor:
        x = x + self.attention(self.layernorm_before(x), tokens)
        return x + self.output(self.act(self.intermediate(self.layernorm_after(x))))


class _BertLayer(nn.Module):
    """Norms after attention and MLP, on the stream."""

    def __init__(self, config: dict[str, Any], models: int) -> None:
        super().__init__()
        size, wide, eps = config["hidden_size"], config["intermediate_size"], config["layer_norm_eps"]
        self.attention = _Attention("self", config, models, eps)
        self.intermediate, self.output = _Dense(size, wide, models), _Dense(wide, size, models, eps)
        self.act = ACTIVATIONS[config["hidden_act"]]()

    def forward(self, x: Tensor, tokens: int) -> Tensor:
        x = self.attention.output.LayerNorm(x + self.attention(x, tokens))
        return self.output.LayerNorm(x + self.output(self.act(self.intermediate(x))))


class _Encoder(nn.Module):
    def __init__(self, layer: type[nn.Module], config: dict[str, Any], models: int) -> None:
        super().__init__()
        self.layer = nn.ModuleList(layer(config, models) for _ in range(config["num_hidden_layers"]))

    def forward(self, x: Tensor) -> Tensor:
        """(models, batch, tokens, size) → the same shape."""
        rows = x.flatten(1, 2)
        for layer in self.layer:
            rows = layer(rows, x.shape[2])
        return rows.view(x.shape)


class _Patches(nn.Module):
    """The patch embedding: a convolution whose stride is its kernel."""

    def __init__(self, config: dict[str, Any], models: int) -> None:
        super().__init__()
        channels, size, self.patch = config["num_channels"], config["hidden_size"], config["patch_size"]
        self.projection = nn.Conv2d(models * channels, models * size, self.patch, self.patch, groups=models)
        self.models = models

    def forward(self, x: Tensor) -> Tensor:
        """(batch, models · channels, height, width) → (models, batch, patches, size)."""
        return self.projection(x).unflatten(1, (self.models, -1)).flatten(3).permute(1, 0, 3, 2)


class _ViTEmbeddings(nn.Module):
    def __init__(self, config: dict[str, Any], models: int) -> None:
        super().__init__()
        size, patches = config["hidden_size"], (config["image_size"] // config["patch_size"]) ** 2
        self.cls_token = nn.Parameter(torch.zeros(models, 1, size))
        self.position_embeddings = nn.Parameter(torch.zeros(models, patches + 1, size))
        self.patch_embeddings = _Patches(config, models)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.patch_embeddings(x)
        cls = self.cls_token.unsqueeze(1).expand(-1, patches.shape[1], -1, -1)
        return torch.cat([cls, patches], 2) + self.position_embeddings.unsqueeze(1)


class _ViTModel(nn.Module):
    def __init__(self, config: dict[str, Any], models: int) -> None:
        super().__init__()
        self.embeddings = _ViTEmbeddings(config, models)
        self.encoder = _Encoder(_ViTLayer, config, models)
        self.layernorm = LayerNorm(config["hidden_size"], models, config["layer_norm_eps"])

    def forward(self, x: Tensor) -> Tensor:
        return self.layernorm(self.encoder(self.embeddings(x))[:, :, 0])


class ViT(nn.Module):
    """A vision Transformer, named as transformers' ViTForImageClassification (Dosovitskiy et al. 2021).

    (batch, models · channels, height, width) → (batch, models · labels).
    """

    def __init__(self, config: dict[str, Any], models: int) -> None:
        super().__init__()
        self.vit = _ViTModel(config, models)
        self.classifier = Linear(config["hidden_size"], config["num_labels"], models)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier.each(self.vit(x)).transpose(0, 1).flatten(1)


class _BertEmbeddings(nn.Module):
    def __init__(self, config: dict[str, Any], models: int) -> None:
        super().__init__()
        size = config["hidden_size"]
        self.word_embeddings = Embedding(config["vocab_size"], size, models)
        self.position_embeddings = Embedding(config["max_position_embeddings"], size, models)
        self.token_type_embeddings = Embedding(config["type_vocab_size"], size, models)
        self.LayerNorm = LayerNorm(size, models, config["layer_norm_eps"])
        self.models = models

    def forward(self, ids: Tensor) -> Tensor:
        """(batch, models · tokens) → (models, batch, tokens, size)."""
        ids = ids.unflatten(1, (self.models, -1)).transpose(0, 1)
        positions = torch.arange(ids.shape[2]).expand(self.models, -1)
        first = torch.zeros(self.models, 1, dtype=torch.long)
        shared = self.position_embeddings(positions) + self.token_type_embeddings(first)
        words = self.word_embeddings(ids.flatten(1)).unflatten(1, ids.shape[1:])
        x = words + shared.unsqueeze(1)
        return self.LayerNorm(x.flatten(1, 2)).view(x.shape)


class _BertModel(nn.Module):
    def __init__(self, config: dict[str, Any], models: int) -> None:
        super().__init__()
        self.embeddings = _BertEmbeddings(config, models)
        self.encoder = _Encoder(_BertLayer, config, models)
        self.pooler = _Dense(config["hidden_size"], config["hidden_size"], models)

    def forward(self, ids: Tensor) -> Tensor:
        return torch.tanh(self.pooler(self.encoder(self.embeddings(ids))[:, :, 0]))


class Bert(nn.Module):
    """A text Transformer, named as transformers' BertForSequenceClassification (Devlin et al. 2019).

    Padding is a token like any other: nothing is masked. (batch, models · tokens) → (batch, models · labels).
    """

    def __init__(self, config: dict[str, Any], models: int) -> None:
        super().__init__()
        self.bert = _BertModel(config, models)
        self.classifier = Linear(config["hidden_size"], config["num_labels"], models)

    def forward(self, ids: Tensor) -> Tensor:
        return self.classifier.each(self.bert(ids)).transpose(0, 1).flatten(1)

"""Specimens that are plain torch modules: with torchvision's and timm's names, recurrent, and of our own zoo."""

from __future__ import annotations

from functools import partial

import torch

from peace_pipeline.zoo.trained import build
from tests.networks import CONFIGS, BottleneckNet

from . import definitions as net
from .specimen import BATCH, Config, Feed, Inputs, Specimen, TorchSpecimen, draw
from .vision_transformers import Swin, ViT

LABELS = 5


def normal(*shape: int) -> Feed:
    """What draws normal inputs of a shape."""

    def feed(generator: torch.Generator) -> Inputs:
        return {"x": draw(generator, *shape)}

    return feed


def tokens(entries: int, length: int) -> Feed:
    """What draws token ids."""

    def feed(generator: torch.Generator) -> Inputs:
        return {"x": torch.randint(1, entries, (BATCH, length), generator=generator)}

    return feed


def zoo(settings: Config) -> Specimen:
    """A network as our own zoo trains them, from a config.json."""
    shape = settings["input_shape"]
    feed = tokens(settings["vocab_size"], *shape) if "vocab_size" in settings else normal(*shape)
    return TorchSpecimen(feed, partial(build, settings), settings)


def mlp(act: str) -> Specimen:
    """A perceptron with two hidden layers of an activation."""
    settings = {
        "model_type": "mlp", "input_shape": [6], "hidden_sizes": [11, 9], "num_labels": LABELS, "hidden_act": act,
    }  # fmt: skip
    return TorchSpecimen(normal(6), partial(net.MLP, (6, 11, 9, LABELS), act), settings)


def recurrent(kind: str, bidirectional: bool) -> Specimen:
    """Two layers of LSTM or GRU."""
    settings = {
        "model_type": kind, "input_size": 5, "hidden_size": 8, "num_layers": 2, "num_labels": LABELS,
        "bidirectional": bidirectional,
    }  # fmt: skip
    module = partial(net.Recurrent, kind, 5, 8, 2, LABELS, bidirectional)
    return TorchSpecimen(normal(6, 5), module, settings)


def timm(architecture: str, **more: object) -> Config:
    """A config.json as timm writes it: ``more`` are the arguments that differ from the architecture's own."""
    config = {"architecture": architecture, "num_classes": LABELS}
    return config | {"model_args": more} if more else config


VGG = {
    "model_type": "vgg", "input_shape": [3, 8, 8], "stages": [[6, 7], [9]], "hidden_size": 13,
    "kernel_size": 3, "padding": 1, "num_labels": LABELS, "hidden_act": "relu",
}  # fmt: skip
RESNET = {
    "input_shape": [3, 12, 12], "channels": [6, 6, 11], "strides": [1, 1, 2], "depths": [2, 1, 2],
    "kernel_size": 3, "padding": 1, "num_labels": LABELS, "hidden_act": "relu",
}  # fmt: skip
TRANSFORMER = {
    "hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 40,
    "layer_norm_eps": 1e-12, "hidden_act": "gelu", "num_labels": LABELS,
}  # fmt: skip
ZOO_VIT = TRANSFORMER | {
    "architectures": ["ViTForImageClassification"], "model_type": "vit", "input_shape": [1, 8, 8],
    "image_size": 8, "patch_size": 4, "num_channels": 1, "qkv_bias": True,
}  # fmt: skip
ZOO_BERT = TRANSFORMER | {
    "architectures": ["BertForSequenceClassification"], "model_type": "bert", "input_shape": [7],
    "vocab_size": 50, "max_position_embeddings": 7, "type_vocab_size": 1,
}  # fmt: skip
ZOO_RECURRENT = {
    "input_shape": [6, 5], "input_size": 5, "hidden_size": 8, "num_layers": 2, "num_labels": LABELS,
}  # fmt: skip
ZOO_TEXT = ZOO_RECURRENT | {"input_shape": [7], "vocab_size": 50}
CONVNEXT = ((6, 17, 2), (10, 26, 1))

PLAIN: dict[str, Specimen] = {
    **{f"mlp_{act}": mlp(act) for act in net.ACTIVATIONS},
    "cnn": zoo(CONFIGS["cnn"] | {"hidden_act": "relu"}),
    "cnn_tanh": zoo(CONFIGS["cnn"] | {"hidden_act": "tanh"}),
    "vgg": zoo(VGG | {"norm": "none"}),
    "vgg_bn": zoo(VGG | {"norm": "batch_norm"}),
    "resnet_basic": zoo(RESNET | {"model_type": "resnet"}),
    "resnet_bottleneck": TorchSpecimen(normal(1, 8, 8), BottleneckNet, CONFIGS["bottleneck"]),
    "resnet_basic_timm": TorchSpecimen(
        normal(3, 12, 12), partial(build, RESNET | {"model_type": "resnet"}), timm("resnet18")
    ),
    "resnet_bottleneck_timm": TorchSpecimen(normal(1, 8, 8), BottleneckNet, timm("resnet50")),
    "densenet": TorchSpecimen(
        normal(3, 8, 8), partial(net.DenseNet, 7, 3, 5, (2, 3), LABELS), {"model_type": "densenet"}
    ),
    "mobilenet_v2": TorchSpecimen(
        normal(3, 16, 16),
        partial(net.MobileNetV2, 6, ((5, 1, 1), (7, 3, 2), (7, 4, 1), (9, 2, 1)), 22, LABELS),
        {"model_type": "mobilenet_v2"},
    ),
    "efficientnet_timm": TorchSpecimen(
        normal(3, 16, 16),
        partial(
            net.EfficientNet, 8,
            (((5, 1, 3, 1, 2),), ((7, 3, 5, 2, 4), (7, 4, 5, 1, 3)), ((9, 2, 3, 1, 6),)), 31, LABELS,
        ),
        timm("efficientnet_b0"),
    ),
    "convnext_timm": TorchSpecimen(
        normal(3, 16, 16), partial(net.ConvNeXt, CONVNEXT, LABELS), timm("convnext_tiny")
    ),
    "convnext": TorchSpecimen(
        normal(3, 16, 16), partial(net.TorchvisionConvNeXt, CONVNEXT, LABELS), {"model_type": "convnext"}
    ),
    "vit_timm": TorchSpecimen(
        normal(3, 12, 12), partial(ViT, 12, 4, 24, 4, 40, 2, LABELS),
        timm("vit_tiny_patch16_224", img_size=12, patch_size=4, embed_dim=24, depth=2, num_heads=4),
    ),
    "swin_timm": TorchSpecimen(
        normal(3, 16, 16), partial(Swin, 2, 12, ((2, 19, 2), (3, 38, 2)), 2, LABELS),
        timm(
            "swin_tiny_patch4_window7_224", img_size=16, patch_size=2, embed_dim=12, depths=[2, 2], num_heads=[2, 3],
            window_size=2,
        ),
    ),
    "lstm": recurrent("lstm", False),
    "lstm_bidirectional": recurrent("lstm", True),
    "gru": recurrent("gru", False),
    "gru_bidirectional": recurrent("gru", True),
    "zoo_lstm": zoo(ZOO_RECURRENT | {"model_type": "lstm"}),
    "zoo_gru": zoo(ZOO_RECURRENT | {"model_type": "gru"}),
    "zoo_text_lstm": zoo(ZOO_TEXT | {"model_type": "lstm"}),
    "zoo_text_gru": zoo(ZOO_TEXT | {"model_type": "gru"}),
    "zoo_vit": zoo(ZOO_VIT),
    "zoo_bert": zoo(ZOO_BERT),
}  # fmt: skip

"""What convolutional, vision and recurrent families, chains and LoRA claim, proven by running the real modules."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from peace_pipeline.symmetry.group.actions import act
from peace_pipeline.symmetry.group.elements import ALL, random_element
from peace_pipeline.symmetry.opening import OpenNetwork
from peace_pipeline.symmetry.testing import TOLERANCE, assert_invariant
from peace_pipeline.symmetry.wiring.inference import infer_wiring
from peace_pipeline.symmetry.wiring.types import Wiring
from peace_pipeline.weights.checkpoint import open_checkpoint
from peace_pipeline.weights.logical import views_of
from peace_pipeline.weights.tensors import TensorInfo
from peace_pipeline.zoo.card import read_config
from tests.specimens import FAMILIES, REPRESENTATIVES, Specimen
from tests.specimens.definitions import FeedForward
from tests.specimens.lora import LoraSpecimen
from tests.specimens.plain import LABELS, RESNET, VGG, normal, timm, zoo
from tests.specimens.pretrained import VISION, images
from tests.specimens.running import Saved, Shelf
from tests.specimens.specimen import TorchSpecimen, TransformersSpecimen
from tests.specimens.vision_transformers import ViT, ViTBlock
from tests.sweep import swept


class ProjectedLSTM(nn.Module):
    """Two layers in both directions, whose states are projected."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(5, 8, 2, batch_first=True, bidirectional=True, proj_size=3)
        self.fc = nn.Linear(6, LABELS)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.lstm(x)[0])


class ScaledBlock(ViTBlock):
    """timm's block with learned scales after attention and MLP."""

    def __init__(self, size: int, heads: int, hidden: int) -> None:
        super().__init__(size, heads, hidden)
        self.ls1, self.ls2 = nn.Module(), nn.Module()
        self.ls1.gamma, self.ls2.gamma = nn.Parameter(torch.ones(size)), nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1.gamma * self.attn(self.norm1(x))
        return x + self.ls2.gamma * self.mlp(self.norm2(x))


class DistilledViT(ViT):
    """timm's DeiT: two tokens, two classifiers, after a norm that timm calls ``fc_norm`` elsewhere."""

    def __init__(self, image: int, patch: int, size: int, heads: int, hidden: int, depth: int) -> None:
        super().__init__(image, patch, size, heads, hidden, depth, LABELS)
        self.blocks = nn.Sequential(*(ScaledBlock(size, heads, hidden) for _ in range(depth)))
        self.dist_token = nn.Parameter(torch.zeros(1, 1, size))
        self.pos_embed = nn.Parameter(torch.zeros(1, 2 + (image // patch) ** 2, size))
        self.fc_norm, self.head_dist = self.norm, nn.Linear(size, LABELS)
        del self.norm

    def forward(self, x: Tensor) -> Tensor:
        tokens = torch.cat([self.cls_token, self.dist_token], 1).expand(len(x), -1, -1)
        x = self.fc_norm(self.blocks(torch.cat([tokens, self.patch_embed(x)], 1) + self.pos_embed))
        return self.head(x[:, 0]) + self.head_dist(x[:, 1])


class PooledViT(ViT):
    """timm's, with registers, a norm before the blocks, and a learned query that attends to what they give."""

    def __init__(self, size: int, heads: int, hidden: int, is_classifier: bool = True) -> None:
        super().__init__(12, 4, size, heads, hidden, 2, LABELS)
        self.reg_token, self.norm_pre = nn.Parameter(torch.zeros(1, 3, size)), nn.LayerNorm(size)
        self.attn_pool = nn.Module()
        self.attn_pool.latent = nn.Parameter(torch.zeros(1, 1, size))
        self.attn_pool.q, self.attn_pool.kv = nn.Linear(size, size), nn.Linear(size, 2 * size)
        self.attn_pool.proj, self.attn_pool.norm = nn.Linear(size, size), nn.LayerNorm(size)
        self.attn_pool.mlp = FeedForward(size, hidden)
        self.heads = heads
        if not is_classifier:
            self.head = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), self.patch_embed(x)], 1) + self.pos_embed
        x = torch.cat([self.reg_token.expand(len(x), -1, -1), x], 1)
        x, pool = self.norm(self.blocks(self.norm_pre(x))), self.attn_pool
        q = pool.q(pool.latent.expand(len(x), -1, -1)).unflatten(2, (self.heads, -1)).transpose(1, 2)
        k, v = pool.kv(x).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        scores = (q @ k.transpose(2, 3) / q.shape[3] ** 0.5).softmax(3)
        pooled = pool.proj((scores @ v).transpose(1, 2).flatten(2))
        return self.head((pooled + pool.mlp(pool.norm(pooled)))[:, 0])


def with_lora(name: str, *targets: str) -> Specimen:
    """Another specimen with LoRA, in one file."""
    return LoraSpecimen(FAMILIES[name].feed, FAMILIES[name], targets)


def bare(model: str, like: str, **more: object) -> Specimen:
    """A specimen of transformers without its classifier."""
    return replace(other(like, **more), model=model, read=("last_hidden_state", "pooler_output"))


def other(like: str, **more: object) -> TransformersSpecimen:
    """A specimen of transformers with other settings."""
    base = FAMILIES[like]
    assert isinstance(base, TransformersSpecimen)
    return replace(base, settings=base.settings | more)


SPECIMENS = FAMILIES | {
    "vgg_tanh": zoo(VGG | {"norm": "none", "hidden_act": "tanh"}),
    "vgg_timm": TorchSpecimen(normal(3, 8, 8), zoo(VGG | {"norm": "batch_norm"}).make, timm("vgg11_bn")),
    "resnet_tanh": zoo(RESNET | {"model_type": "resnet", "hidden_act": "tanh"}),
    "lstm_projected": TorchSpecimen(normal(6, 5), ProjectedLSTM, {"model_type": "lstm"}),
    "deit_timm": TorchSpecimen(
        normal(3, 12, 12),
        partial(DistilledViT, 12, 4, 128, 2, 20, 2),
        timm("deit_tiny_distilled_patch16_224"),
    ),
    "vit_pooled": TorchSpecimen(
        normal(3, 12, 12),
        partial(PooledViT, 128, 2, 20),
        timm("vit_base_patch16_siglip_224"),
    ),
    "vit_pooled_bare": TorchSpecimen(
        normal(3, 12, 12),
        partial(PooledViT, 128, 2, 20, False),
        timm("vit_base_patch16_siglip_224"),
    ),
    "resnet_bare": bare("ResNetModel", "resnet_basic_hf"),
    "mobilenet_v2_bare": bare("MobileNetV2Model", "mobilenet_v2_hf"),
    "efficientnet_bare": bare("EfficientNetModel", "efficientnet_hf"),
    "convnext_bare": bare("ConvNextModel", "convnext_hf"),
    "vit_bare": TransformersSpecimen(images(12), "ViTModel", VISION, ("last_hidden_state", "pooler_output")),
    "swin_bare": bare("SwinModel", "swin_hf", use_absolute_embeddings=True),
    "resnet_tanh_hf": other("resnet_bottleneck_hf", hidden_act="tanh"),
    "efficientnet_max_pooled": other("efficientnet_hf", hidden_act="tanh", pooling_type="max"),
    "swin_padded": replace(other("swin_hf", image_size=20, patch_size=4), feed=images(20)),
    "vit_lora": with_lora("vit_timm", "qkv", "fc1"),
    "gpt_neox_lora": with_lora("gpt_neox", "query_key_value"),
    "mlp_tanh_lora": with_lora("mlp_tanh", "0", "1"),
}
CLAIMS = {
    "mlp_relu": ("chain", "2 permute scale"),
    "mlp_leaky_relu": ("chain", "2 permute scale"),
    "mlp_relu6": ("chain", "2 permute"),
    "mlp_linear": ("chain", "2 permute scale sign linear"),
    "mlp_tanh": ("chain", "2 permute sign"),
    "mlp_sin": ("chain", "2 permute sign"),
    "mlp_sigmoid": ("chain", "2 permute flip"),
    "mlp_gelu": ("chain", "2 permute"),
    "mlp_silu": ("chain", "2 permute"),
    "mlp_softplus": ("chain", "2 permute"),
    "cnn": ("chain", "3 permute scale"),
    "cnn_tanh": ("chain", "3 permute sign"),
    "vgg": ("chain", "5 permute scale"),
    "vgg_bn": ("chain", "3 gain, 5 permute scale"),
    "resnet_basic": ("resnet", "12 gain, 7 permute scale"),
    "resnet_bottleneck": ("resnet", "12 gain, 9 permute scale"),
    "resnet_basic_timm": ("resnet", "12 gain, 7 permute scale"),
    "resnet_bottleneck_timm": ("resnet", "12 gain, 9 permute scale"),
    "densenet": ("densenet", "6 gain, 6 permute scale, 6 permute scale sign, 7 scale"),
    "mobilenet_v2": ("mobilenet_v2", "13 gain, 5 permute, 3 permute scale sign linear"),
    "efficientnet_timm": ("efficientnet", "13 gain, 9 permute, 3 permute scale sign linear"),
    "convnext_timm": ("convnext", "3 gain, 5 gain shift, 5 permute"),
    "convnext": ("convnext", "5 gain shift, 5 permute, 3 scale sign"),
    "vit_timm": ("vit", "5 gain shift, 2 mix free, 2 mix shift, 5 permute"),
    "swin_timm": ("swin", "5 gain, 5 gain shift, 4 mix free, 4 mix shift, 10 permute"),
    "lstm": ("lstm", "1 permute, 1 permute sign"),
    "lstm_bidirectional": ("lstm", "4 permute sign"),
    "gru": ("gru", "2 permute sign"),
    "gru_bidirectional": ("gru", "4 permute sign"),
    "zoo_lstm": ("lstm", "2 permute sign"),
    "zoo_gru": ("gru", "2 permute sign"),
    "zoo_text_lstm": ("lstm", "1 permute scale sign linear, 2 permute sign"),
    "zoo_text_gru": ("gru", "1 permute scale sign linear, 2 permute sign"),
    "zoo_vit": ("vit", "5 gain shift, 2 mix free, 2 mix shift, 5 permute"),
    "resnet_basic_hf": ("resnet", "8 gain, 5 permute scale"),
    "resnet_bottleneck_hf": ("resnet", "12 gain, 9 permute scale"),
    "mobilenet_v2_hf": ("mobilenet_v2", "52 gain, 18 permute, 5 permute scale sign linear"),
    "efficientnet_hf": ("efficientnet", "13 gain, 9 permute, 3 permute scale sign linear"),
    "convnext_hf": ("convnext", "3 gain, 5 gain shift, 5 permute"),
    "vit_hf": ("vit", "5 gain shift, 2 mix free, 2 mix shift, 5 permute"),
    "deit_hf": ("deit", "5 gain shift, 2 mix free, 2 mix shift, 5 permute"),
    "swin_hf": ("swin", "5 gain, 5 gain shift, 4 mix free, 4 mix shift, 10 permute"),
    "llama_lora": (
        "llama",
        "5 gain, 2 mix, 2 permute, 2 permute scale sign, 8 permute scale sign linear, "
        "1 permute sign orthogonal, 2 rotate",
    ),
    "llama_lora_adapter": ("lora", "8 permute scale sign linear"),
    "bert_lora_adapter": ("lora", "4 permute scale sign linear"),
    "vgg_tanh": ("chain", "3 permute, 2 permute sign"),
    "vgg_timm": ("chain", "3 gain, 5 permute scale"),
    "resnet_tanh": ("resnet", "12 gain, 7 permute sign"),
    "lstm_projected": ("lstm", "2 permute, 2 permute scale sign, 4 permute sign"),
    "deit_timm": ("deit", "4 gain, 5 gain shift, 2 mix free, 2 mix shift, 5 permute"),
    "resnet_bare": ("resnet", "8 gain, 4 permute scale"),
    "mobilenet_v2_bare": ("mobilenet_v2", "52 gain, 17 permute, 5 permute scale sign linear"),
    "efficientnet_bare": ("efficientnet", "13 gain, 8 permute, 3 permute scale sign linear"),
    "convnext_bare": ("convnext", "3 gain, 4 gain shift, 4 permute"),
    "vit_pooled": ("vit", "6 gain shift, 3 mix free, 3 mix shift, 9 permute"),
    "vit_pooled_bare": ("vit", "6 gain shift, 3 mix free, 3 mix shift, 8 permute"),
    "vit_bare": ("vit", "4 gain shift, 2 mix free, 2 mix shift, 4 permute"),
    "swin_bare": ("swin", "5 gain, 4 gain shift, 4 mix free, 4 mix shift, 9 permute"),
    "resnet_tanh_hf": ("resnet", "12 gain, 1 permute, 6 permute scale, 2 permute sign"),
    "efficientnet_max_pooled": (
        "efficientnet", "13 gain, 1 permute, 3 permute scale sign linear, 8 permute sign, 4 sign",
    ),
    "swin_padded": ("swin", "5 gain, 5 gain shift, 4 mix free, 4 mix shift, 10 permute"),
    "vit_lora": (
        "vit", "4 gain, 1 gain shift, 2 mix free, 2 mix shift, 5 permute, 4 permute scale sign linear",
    ),
    "gpt_neox_lora": (
        "gpt_neox", "3 gain, 2 gain shift, 2 mix shift, 5 permute, 2 permute scale sign linear, 2 rotate",
    ),
    "mlp_tanh_lora": ("chain", "2 permute scale sign linear, 2 permute sign"),
}  # fmt: skip
"""Specimen → the family whose table wires it (or ``chain``), and how many groups have which actions."""

FREE = re.compile(r".*\bk(ey|_proj)\.bias")
"""What softmax doesn't see, and may therefore be anything."""


ALWAYS = {*REPRESENTATIVES} & CLAIMS.keys() | {
    "vit_pooled", "vit_pooled_bare",
    "vit_bare", "vgg_tanh", "resnet_tanh", "lstm_projected", "deit_timm", "resnet_bare", "swin_bare", "resnet_tanh_hf",
    "efficientnet_max_pooled", "swin_padded", "vit_lora", "gpt_neox_lora", "mlp_tanh_lora",
}  # fmt: skip


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    """The specimens that this module alone has."""
    return Shelf(tmp_path_factory.mktemp("others"), SPECIMENS)


@pytest.fixture(scope="module", params=swept(CLAIMS, ALWAYS))
def saved(request: pytest.FixtureRequest, shelf: Shelf, others: Shelf) -> tuple[str, Saved]:
    """A specimen's name, and the specimen."""
    name = request.param
    return name, (shelf if name in FAMILIES else others)[name]


def claimed(wiring: Wiring) -> tuple[str, str]:
    """What ``CLAIMS`` says of a wiring."""
    counts = Counter(" ".join(group.actions) for group in wiring.groups.values() if group.actions)
    return wiring.family or wiring.method, ", ".join(
        f"{n} {actions}" for actions, n in sorted(counts.items())
    )


def test_all_symmetries_of_the_science_are_claimed(saved: tuple[str, Saved]) -> None:
    name, specimen = saved
    assert claimed(specimen.wiring) == CLAIMS[name]


def test_every_tensor_is_placed(saved: tuple[str, Saved]) -> None:
    _, specimen = saved
    weights = [path for path in specimen.folder.iterdir() if path.suffix == ".safetensors"]
    with open_checkpoint(weights) as checkpoint:
        opened = OpenNetwork.of(checkpoint, read_config(specimen.folder))
        network, wiring = opened.logical, opened.wiring
    parts = [part for wired in wiring.layers for part in (*wired.own, wired.before) if part]
    assert {name for part in parts for name in part.tensors.values()} == network.tensors.keys()


def test_actions_keep_the_function(saved: tuple[str, Saved], tmp_path: Path) -> None:
    _, specimen = saved
    found = assert_invariant(specimen.function(tmp_path / "acted"), specimen.wiring, specimen.tensors)
    assert "permutation" in found


@pytest.mark.parametrize("name", swept(CLAIMS, ALWAYS))
def test_single_precision_keeps_the_function_too(name: str, tmp_path: Path) -> None:
    specimen = Saved.build(SPECIMENS[name], tmp_path / "saved", torch.float32)
    acted = specimen.acted(specimen.element(ALL), tmp_path / "acted")
    assert specimen.change(acted) <= TOLERANCE[torch.float32]


def test_a_tensor_left_out_is_caught(saved: tuple[str, Saved], tmp_path: Path) -> None:
    _, specimen = saved
    changes = specimen.left_out(specimen.acted(specimen.element(ALL), tmp_path / "acted"))
    seen = {name: change for name, change in changes.items() if not FREE.fullmatch(name)}
    assert seen
    assert min(seen.values()) > 10 * TOLERANCE[torch.float64]


@settings(max_examples=2)  # a damaged config is followed in a process of its own, which takes seconds
@given(data=st.data())
def test_a_damaged_checkpoint_is_no_error(saved: tuple[str, Saved], data: st.DataObject) -> None:
    """Missing tensors, other shapes and other configs give a wiring that fits, if only ``independent``."""
    _, specimen = saved
    config = specimen.specimen.config()
    shapes = {name: tuple(tensor.shape) for name, tensor in specimen.module.state_dict().items()}
    names, keys = st.sampled_from(sorted(shapes)), st.sampled_from(sorted(config) or ["model_type"])
    sizes = st.lists(st.sampled_from([0, 1, 2, 7, 24, 1000]), max_size=4).map(tuple)
    values = st.sampled_from([None, 0, -1, 1, 5, 1000, 10**30, "x", [], {}, [1, 2], True, 1.5])
    shapes |= data.draw(st.dictionaries(names, sizes, max_size=2))
    missing = data.draw(st.sets(names, max_size=2))
    config |= data.draw(st.dictionaries(keys, values, max_size=2))
    stored = [TensorInfo(name, shape, "float32") for name, shape in shapes.items() if name not in missing]
    infos = [replace(view.info, name=name) for name, view in views_of(stored, config).items()]
    assume(any(info.is_floating and info.shape and 0 not in info.shape for info in infos))
    wiring = infer_wiring(infos, config)
    tensors = {info.name: torch.rand(1, *info.shape) for info in infos}
    acted = act(wiring, tensors, random_element(wiring, 1, torch.Generator().manual_seed(0), ALL))
    assert {name: x.shape for name, x in acted.items()} == {name: x.shape for name, x in tensors.items()}


def test_norms_of_single_images_are_not_folded() -> None:
    net = [("conv1.weight", (4, 3, 3, 3)), ("fc.weight", (5, 4)), ("bn1.weight", (4,)), ("bn1.bias", (4,))]
    statistics = [("bn1.running_mean", (4,)), ("bn1.running_var", (4,))]
    methods = [
        infer_wiring(
            [TensorInfo(name, shape, "float32") for name, shape in tensors], {"model_type": "resnet"}
        ).method
        for tensors in (net + statistics, net)
    ]
    assert methods == ["family", "independent"]


@pytest.mark.parametrize(
    "config",
    [
        timm("vit_base_patch16_rpn_224"),
        timm("vit_base_patch16_224", act_layer="relu"),
        timm("vit_base_patch16_224", embed_dim=192),
        timm("vit_base_patch16_224", num_heads=-1),
    ],
)
def test_variants_of_architectures_are_not_taken_for_them(config: dict[str, object]) -> None:
    specimen = FAMILIES["vit_timm"]
    shapes = {name: tuple(tensor.shape) for name, tensor in specimen.make().state_dict().items()}
    stored = [TensorInfo(name, shape, "float32") for name, shape in shapes.items()]

    def method(config: dict[str, object]) -> str:
        views = views_of(stored, config)
        return infer_wiring([replace(view.info, name=name) for name, view in views.items()], config).method

    assert method(specimen.config()) == "family"
    assert method(config) != "family"


def test_pairs_with_singular_values_between_are_left_alone() -> None:
    shapes = {"q.lora_A": (3, 8), "q.lora_B": (6, 3), "q.lora_E": (3, 1)}
    infos = [TensorInfo(name, shape, "float32") for name, shape in shapes.items()]
    assert infer_wiring(infos[:2], {}).family == "lora"
    assert infer_wiring(infos, {}).method == "independent"

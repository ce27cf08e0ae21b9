"""Layers out of names and shapes."""

from __future__ import annotations

import pytest
import torch

from peace_pipeline.encoder.features import KINDS, kind_index
from peace_pipeline.symmetry.wiring.inference import independent, infer_wiring
from peace_pipeline.symmetry.wiring.types import Wiring
from peace_pipeline.weights.layers import Layer, layers_of
from peace_pipeline.weights.tensors import TensorInfo
from tests.networks import folded_tensors, infos


def test_tensors_that_act_as_one_map_are_one_layer() -> None:
    found = layers_of(
        infos(
            fc10__weight=(4, 3), fc10__bias=(4,), fc2__weight=(3, 5), bn__weight=(4,), bn__bias=(4,),
            bn__running_mean=(4,), bn__running_var=(4,), scale=(4,), token=(1, 4),
        )
    )  # fmt: skip
    assert {layer.name: layer.kind for layer in found} == {
        "bn": "norm", "fc2": "linear", "fc10": "linear", "scale": "norm", "token": "embedding",
    }  # fmt: skip
    assert [layer.name for layer in found] == ["bn", "fc2", "fc10", "scale", "token"]
    roles = {layer.name: set(layer.tensors) for layer in found}
    assert roles["bn"] == {"gain", "shift", "mean", "var"}
    assert roles["fc10"] == {"weight", "bias"}
    assert roles["scale"] == {"gain"}


BY_SHAPE = {
    "linear": (4, 3), "conv1d": (4, 3, 2), "conv2d": (4, 3, 2, 2), "conv3d": (4, 3, 2, 2, 2),
    "tensor": (4, 3, 2, 2, 2, 2), "norm": (4,),
}  # fmt: skip


@pytest.mark.parametrize("kind", BY_SHAPE)
def test_kinds_by_shape(kind: str) -> None:
    (layer,) = layers_of(infos(a__weight=BY_SHAPE[kind]))
    assert (layer.kind, layer.shape, layer.is_norm) == (kind, BY_SHAPE[kind], kind == "norm")


def test_kinds_by_context() -> None:
    first = layers_of(infos(a__weight=(8, 1, 3, 3), b__weight=(8, 1, 3, 3)))
    assert [layer.kind for layer in first] == ["conv2d", "depthwise"]
    named = layers_of(infos(word_embeddings__weight=(9, 4), wte__weight=(9, 4), embedder__weight=(9, 4)))
    assert {layer.name: layer.kind for layer in named} == {
        "word_embeddings": "embedding",
        "wte": "embedding",
        "embedder": "linear",
    }


BY_NAME = {
    "attention_q": (
        "model.layers.0.self_attn.q_proj", "bert.encoder.layer.0.attention.self.query", "layer.0.attention.q_lin",
        "down_blocks.0.attn1.to_q", "layers.0.attention.wq", "blk.0.attn_q", "block.0.layer.0.SelfAttention.q",
        "mid.attn_1.to_q.0",
    ),
    "attention_k": ("self_attn.k_proj", "attention.self.key", "attn1.to_k", "layers.0.attention.wk", "blk.0.attn_k"),
    "attention_v": ("self_attn.v_proj", "attention.self.value", "attn1.to_v", "layers.0.attention.wv", "blk.0.attn_v"),
    "attention_o": (
        "model.layers.0.self_attn.o_proj", "encoder.layer.0.attention.output.dense", "attn1.to_out.0",
        "h.0.attn.c_proj", "blocks.0.attn.proj", "blk.0.attn_output", "self_attention.dense", "EncDecAttention.o",
        "transformer.layer.0.attention.out_lin",
    ),
    "attention_qkv": ("h.0.attn.c_attn", "blocks.0.attn.qkv", "attention.query_key_value", "attn.Wqkv", "attn.W_pack"),
    "embedding": (
        "model.embed_tokens", "wte", "wpe", "token_embd", "bert.embeddings.token_type_embeddings", "shared",
        "tok_embeddings", "text_model.embeddings.position_embedding", "gpt_neox.embed_in", "emb",
        "SelfAttention.relative_attention_bias",
    ),
    "recurrent": ("lstm.ih_l0.i", "lstm.hh_l1_reverse.o", "gru.ih_l0.n", "rnn.hh_l0", "cell.ih"),
    "lora_a": ("q_proj.lora_A", "wte.lora_embedding_A", "attn.to_q.lora.down", "unet_to_k.lora_down"),
    "lora_b": ("q_proj.lora_B", "wte.lora_embedding_B", "attn.to_q.lora.up", "unet_to_k.lora_up"),
    "linear": (
        "encoder.layer.0.output.dense", "h.0.mlp.c_proj", "blocks.0.mlp.fc1", "embed_out", "time_embed.0", "value",
        "policy.query", "embedding_hidden_mapping_in", "DenseReluDense.wo", "lm_head", "to_patch_embedding.2",
        "embeddings.dense", "decoder.fc_out",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", BY_NAME)
def test_kinds_by_name(kind: str) -> None:
    for name in BY_NAME[kind]:
        (layer,) = layers_of([TensorInfo(f"{name}.weight", (8, 4), "float32")])
        assert (layer.name, layer.kind) == (name, kind)


def test_queries_and_keys_side_by_side_make_an_attention() -> None:
    found = layers_of(
        infos(**{f"block__{n}__weight": (4, 4) for n in ("query", "key", "value", "proj", "fc")})
    )
    assert {layer.name.removeprefix("block."): layer.kind for layer in found} == {
        "query": "attention_q", "key": "attention_k", "value": "attention_v", "proj": "attention_o", "fc": "linear",
    }  # fmt: skip


PARAMETERS = {
    "cls_token": ((1, 1, 8), "embedding"), "embeddings.position_embeddings": ((1, 5, 8), "embedding"),
    "pos_embed": ((1, 5, 8), "embedding"), "vision.class_embedding": ((8,), "embedding"),
    "relative_position_bias_table": ((9, 4), "embedding"), "visual.proj": ((8, 4), "linear"),
    "latent": ((1, 5, 8), "tensor"), "grn.gamma": ((1, 1, 1, 8), "tensor"), "ls1.gamma": ((8,), "norm"),
    "mlp.experts.down_proj": ((4, 8, 6), "tensor"), "blk.0.ffn_up_exps.weight": ((4, 8, 6), "tensor"),
    "position.bias": ((4, 3), "tensor"), "layer_norm.weight": ((8, 4, 4), "tensor"),
    "123": ((8, 4, 3, 3), "conv2d"), "magnitude": ((8,), "norm"),
}  # fmt: skip


@pytest.mark.parametrize("name", PARAMETERS)
def test_kinds_of_single_parameters(name: str) -> None:
    shape, kind = PARAMETERS[name]
    (layer,) = layers_of([TensorInfo(name, shape, "float32")])
    assert (layer.kind, layer.shape, list(layer.tensors.values())) == (kind, shape, [name])


@pytest.mark.parametrize(
    "name", ["fc.bias", "in_proj_bias", "q_bias", "lstm.bias_ih_l0", "e_score_correction_bias"]
)
def test_a_bias_alone_is_no_norm(name: str) -> None:
    (layer,) = layers_of([TensorInfo(name, (8,), "float32")])
    assert (layer.kind, layer.tensors) == ("tensor", {"weight": name})


def test_a_norm_may_have_its_bias_alone() -> None:
    found = layers_of(infos(norm__bias=(4,), b__bias=(4,), b__running_mean=(4,), b__running_var=(4,)))
    assert {layer.name: set(layer.tensors) for layer in found if layer.is_norm} == {
        "norm": {"shift"},
        "b": {"shift", "mean", "var"},
    }


GROUPED = {
    "ResNeXt": ({"conv1": (128, 64, 1, 1), "conv2": (128, 4, 3, 3), "conv3": (256, 128, 1, 1)}, "grouped"),
    "in one dimension": ({"conv1": (48, 64, 1), "conv2": (48, 12, 3)}, "grouped"),
    "two halves": ({"conv1": (16, 8, 3), "conv2": (16, 8, 3)}, "conv1d"),
    "a width that there is": ({"a": (4, 8, 1, 1), "conv1": (16, 4, 3, 3), "conv2": (16, 4, 3, 3)}, "conv2d"),
    "joined inputs": ({"conv1": (8, 3, 3, 3), "conv2": (8, 24, 3, 3)}, "conv2d"),
    "an image beside": ({"conv1": (9, 9, 3, 3), "conv2": (64, 3, 7, 7)}, "conv2d"),
}


@pytest.mark.parametrize("case", GROUPED)
def test_groups_are_claimed_where_nothing_else_fits(case: str) -> None:
    shapes, kind = GROUPED[case]
    found = layers_of(infos(**{f"{name}__weight": shape for name, shape in shapes.items()}))
    assert {layer.name: layer.kind for layer in found}["conv2"] == kind


def test_epsilons_that_the_file_gives() -> None:
    given = {
        "a.weight": None,
        "b.weight": 1e-3,
        "c.weight": 1e-3,
        "c.running_var": 1e-2,
        "d.weight": float("nan"),
    }
    found = layers_of(TensorInfo(name, (4,), "float32", eps=eps) for name, eps in given.items())
    assert {layer.name: layer.eps for layer in found} == {"a": None, "b": 1e-3, "c": 1e-2, "d": None}
    wiring = independent(found)
    assert Wiring.from_json(wiring.to_json()) == wiring


def test_the_encoder_knows_every_kind() -> None:
    shapes = {"linear": (4, 3), "conv1d": (4, 3, 2), "conv2d": (4, 3, 2, 2), "conv3d": (4, 3, 2, 2, 2)}
    for kind in KINDS:
        wired = independent([Layer("a", kind, (4,), {})]).layers[0]
        assert KINDS[kind_index(wired)] == kind
    for kind in ("attention_qkv", "grouped", "gate"):
        for known, shape in shapes.items():
            wired = independent([Layer("a", kind, shape, {})]).layers[0]
            assert KINDS[kind_index(wired)] == known


def test_what_is_no_layer() -> None:
    tensors = [
        TensorInfo("steps", (3,), "int64"),
        TensorInfo("empty", (0, 3), "float32"),
        TensorInfo("scalar", (), "float32"),
    ]
    assert layers_of(tensors) == []


def test_every_tensor_is_in_one_layer_and_every_layer_is_sound() -> None:
    odd = infos(
        weight=(4, 3), bias=(4,), a__weight=(5,), a__bias=(3,), b__bias=(3, 4), c__weight=(4, 3), c__gamma=(4,),
        d__running_mean=(4,), e__bias__weight=(3, 3), e__weight=(4, 3), e__bias=(3,), e__running_var=(2, 2),
        f__weight=(4, 3), f__running_mean=(4,), g__bias=(4, 3), g__running_var=(4,),
    )  # fmt: skip
    found = layers_of(odd)
    used = [name for layer in found for name in layer.tensors.values()]
    assert sorted(used) == sorted(info.name for info in odd)
    assert all(layer.name for layer in found)
    assert len({layer.name for layer in found}) == len(found)
    shapes = {info.name: info.shape for info in odd}
    for layer in found:
        assert layer.is_norm or "weight" in layer.tensors
        for name in layer.tensors.values():
            assert shapes[name] in (layer.shape, layer.shape[:1])
    wiring = infer_wiring(odd, {})
    folded = folded_tensors(wiring, lambda name: torch.ones(shapes[name]))
    assert folded.keys() == {name for wired in wiring.folded.layers for name in wired.layer.tensors.values()}

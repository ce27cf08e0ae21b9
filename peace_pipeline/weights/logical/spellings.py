"""Names that other libraries give to a family's tensors → those of transformers or timm, which the tables go by."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spelling:
    """How one library calls the tensors of a family: it is known by some ``names``, and ``rules`` are applied one after
    the other to each."""

    names: frozenset[str]
    rules: tuple[tuple[re.Pattern[str], str], ...]

    @classmethod
    def of(cls, names: Iterable[str], rules: Iterable[tuple[str, str]]) -> Spelling:
        """From the rules as texts, each applied to a whole component (or several) of a name."""
        bounded = ((re.compile(rf"(?<![^.]){old}(?![^.])"), new) for old, new in rules)
        return cls(frozenset(names), tuple(bounded))

    def respelled(self, name: str) -> str:
        """The name that the tables know."""
        for pattern, new in self.rules:
            name = pattern.sub(new, name)
        return name.lstrip(".")


_BLOCK = (r"blk\.(\d+)", r"model.layers.\1")
_ATTENTION = [(rf"attn_{part}", rf"self_attn.{part}_proj") for part in "qkv"]
_LLAMA = [
    _BLOCK,
    (r"token_embd", "model.embed_tokens"),
    (r"output_norm", "model.norm"),
    (r"output", "lm_head"),
    *_ATTENTION,
    (r"attn_qkv", "self_attn.qkv_proj"),
    (r"attn_output", "self_attn.o_proj"),
    (r"attn_([qk])_norm", r"self_attn.\1_norm"),
    (r"ffn_gate", "mlp.gate_proj"),
    (r"ffn_down", "mlp.down_proj"),
    (r"attn_norm", "input_layernorm"),
]
_UP = (r"ffn_up", "mlp.up_proj")
_BERT = [
    (r"blk\.(\d+)", r"encoder.layer.\1"),
    (r"token_embd_norm", "embeddings.LayerNorm"),
    (r"token_embd", "embeddings.word_embeddings"),
    (r"position_embd", "embeddings.position_embeddings"),
    (r"token_types", "embeddings.token_type_embeddings"),
    (r"attn_q", "attention.self.query"),
    (r"attn_k", "attention.self.key"),
    (r"attn_v", "attention.self.value"),
    (r"attn_output_norm", "attention.output.LayerNorm"),
    (r"attn_output", "attention.output.dense"),
    (r"ffn_up", "intermediate.dense"),
    (r"ffn_down", "output.dense"),
    (r"layer_output_norm", "output.LayerNorm"),
]
_GPT2 = [
    (r"blk\.(\d+)", r"transformer.h.\1"),
    (r"token_embd", "transformer.wte"),
    (r"position_embd", "transformer.wpe"),
    (r"output_norm", "transformer.ln_f"),
    (r"output", "lm_head"),
    (r"attn_norm", "ln_1"),
    (r"ffn_norm", "ln_2"),
    (r"attn_qkv", "attn.c_attn"),
    (r"attn_([qkv])", r"attn.\1"),
    (r"attn_output", "attn.c_proj"),
    (r"ffn_up", "mlp.c_fc"),
    (r"ffn_down", "mlp.c_proj"),
]
_WHISPER = [
    (r"(encoder|decoder)\.blocks", r"model.\1.layers"),
    (r"encoder\.(conv[12])", r"model.encoder.\1"),
    (r"(encoder|decoder)\.positional_embedding", r"model.\1.embed_positions.weight"),
    (r"decoder\.token_embedding", "model.decoder.embed_tokens"),
    (r"encoder\.ln_post", "model.encoder.layer_norm"),
    (r"decoder\.ln", "model.decoder.layer_norm"),
    (r"attn_ln", "self_attn_layer_norm"),
    (r"cross_attn_ln", "encoder_attn_layer_norm"),
    (r"mlp_ln", "final_layer_norm"),
    (r"cross_attn", "encoder_attn"),
    (r"attn", "self_attn"),
    (r"query", "q_proj"),
    (r"key", "k_proj"),
    (r"value", "v_proj"),
    (r"out", "out_proj"),
    (r"mlp\.0", "fc1"),
    (r"mlp\.2", "fc2"),
]
_VIT = [
    (r"conv_proj", "patch_embed.proj"),
    (r"class_token", "cls_token"),
    (r"encoder\.pos_embedding", "pos_embed"),
    (r"encoder\.layers\.encoder_layer_(\d+)", r"blocks.\1"),
    (r"encoder\.ln", "norm"),
    (r"ln_([12])", r"norm\1"),
    (r"self_attention\.out_proj", "attn.proj"),
    (r"self_attention", "attn"),
    (r"mlp\.(?:0|linear_1)", "mlp.fc1"),
    (r"mlp\.(?:3|linear_2)", "mlp.fc2"),
    (r"heads\.head", "head"),
]
SPELLINGS = (
    Spelling.of(
        (
            "token_embd.weight",
            "blk.0.ffn_gate.weight",
            "blk.0.attn_norm.weight",
            "blk.0.post_ffw_norm.weight",
        ),
        [
            *_LLAMA,
            _UP,
            (r"ffn_norm", "pre_feedforward_layernorm"),
            (r"post_attention_norm", "post_attention_layernorm"),
            (r"post_ffw_norm", "post_feedforward_layernorm"),
        ],
    ),
    Spelling.of(
        ("token_embd.weight", "blk.0.ffn_gate.weight", "blk.0.attn_norm.weight"),
        [*_LLAMA, _UP, (r"ffn_norm", "post_attention_layernorm")],
    ),
    Spelling.of(
        ("token_embd.weight", "blk.0.ffn_gate_exps.weight", "blk.0.attn_norm.weight"),
        [
            *_LLAMA,
            (r"ffn_gate_inp", "mlp.gate"),
            (r"ffn_(gate|up|down)_exps", r"mlp.experts.\1_proj"),
            (r"ffn_norm", "post_attention_layernorm"),
        ],
    ),
    Spelling.of(
        (
            "model.layers.0.block_sparse_moe.gate.weight",
            "model.layers.0.block_sparse_moe.experts.0.w1.weight",
        ),
        [(r"block_sparse_moe", "mlp")],
    ),
    Spelling.of(
        (
            "model.layers.0.block_sparse_moe.gate.weight",
            "model.layers.0.mlp.experts.gate_up_proj",
        ),
        [(r"block_sparse_moe", "mlp")],
    ),
    Spelling.of(("token_embd.weight", "token_types.weight", "blk.0.attn_output_norm.weight"), _BERT),
    Spelling.of(("token_embd.weight", "position_embd.weight", "blk.0.attn_norm.bias"), _GPT2),
    Spelling.of(
        ("token_embd.weight", "blk.0.attn_qkv.weight", "blk.0.attn_norm.weight", "blk.0.ffn_norm.weight"),
        [*_LLAMA, (r"ffn_up", "mlp.gate_up_proj"), (r"ffn_norm", "post_attention_layernorm")],
    ),
    Spelling.of(
        ("encoder.positional_embedding", "encoder.blocks.0.attn.query.weight", "encoder.ln_post.weight"),
        _WHISPER,
    ),
    Spelling.of(("class_token", "conv_proj.weight", "encoder.layers.encoder_layer_0.ln_1.weight"), _VIT),
)
"""The first that fits a checkpoint is its."""


def spelled(names: Sequence[str]) -> list[str]:
    """The names of a checkpoint's tensors as the tables know them, in the same order; as they are where that would give
    two tensors one name."""
    known = set(names)
    spelling = next((each for each in SPELLINGS if each.names <= known), None)
    if spelling is None:
        return list(names)
    new = [spelling.respelled(name) for name in names]
    return new if len(set(new)) == len(known) else list(names)

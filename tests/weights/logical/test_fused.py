"""What is fused in a file, as the layers of the network have it: parts compute what the whole does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from peace_pipeline.weights.layers import layers_of
from peace_pipeline.weights.logical import views_of
from peace_pipeline.weights.tensors import TensorInfo
from tests.networks import infos_of
from tests.weights.logical.states import State, dense, kinds, random_input, random_state, read_all


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int, **masks: Any) -> torch.Tensor:
    """Attention of several heads: (batch, steps, width) each, keys and values of as many heads or fewer."""
    size = q.shape[-1] // heads
    q, k, v = (part.unflatten(-1, (-1, size)).transpose(1, 2) for part in (q, k, v))
    y = F.scaled_dot_product_attention(q, k, v, enable_gqa=k.shape[1] != heads, **masks)
    return y.transpose(1, 2).flatten(2)


def self_attention(tensors: State, name: str, x: torch.Tensor, heads: int, **masks: Any) -> torch.Tensor:
    return attend(*(dense(tensors, f"{name}.{part}", x) for part in "qkv"), heads, **masks)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("widths", [{}, {"kdim": 8, "vdim": 10}])
def test_multihead_attention(widths: dict[str, int], bias: bool, tmp_path: Path) -> None:
    module = nn.MultiheadAttention(12, 3, bias=bias, batch_first=True, **widths)
    tensors = read_all(tmp_path, random_state(module))
    q = random_input(2, 5, 12)
    k, v = (random_input(2, 4, widths.get(width, 12)) for width in ("kdim", "vdim"))
    mixed = attend(dense(tensors, "q", q), dense(tensors, "k", k), dense(tensors, "v", v), 3)
    torch.testing.assert_close(dense(tensors, "out_proj", mixed), module(q, k, v)[0])
    names = {
        f"{part}.{role}" for part in ("q", "k", "v", "out_proj") for role in ("weight", "bias")[: 1 + bias]
    }
    assert tensors.keys() == names
    assert kinds(tensors) == {
        "q": "attention_q", "k": "attention_k", "v": "attention_v", "out_proj": "attention_o"
    }  # fmt: skip


def test_encoder_layer(tmp_path: Path) -> None:
    module = nn.TransformerEncoderLayer(12, 3, 20, batch_first=True)
    tensors = read_all(tmp_path, random_state(module))
    x = random_input(2, 5, 12)
    y = dense(tensors, "self_attn.out_proj", self_attention(tensors, "self_attn", x, 3))
    y = F.layer_norm(x + y, (12,), tensors["norm1.weight"], tensors["norm1.bias"])
    z = dense(tensors, "linear2", dense(tensors, "linear1", y).relu())
    z = F.layer_norm(y + z, (12,), tensors["norm2.weight"], tensors["norm2.bias"])
    torch.testing.assert_close(z, module(x))
    assert kinds(tensors) == {
        "linear1": "linear", "linear2": "linear", "norm1": "norm", "norm2": "norm",
        "self_attn.q": "attention_q", "self_attn.k": "attention_k", "self_attn.v": "attention_v",
        "self_attn.out_proj": "attention_o",
    }  # fmt: skip


def step(kind: str, tensors: State, cell: str, x: torch.Tensor, state: Any) -> Any:
    """One step of a cell, by the equations of PyTorch's documentation: the next (hidden, cell) state."""
    hidden, memory = state
    prefix, dot, suffix = cell.rpartition(".")
    prefix += dot

    def both(gate: str) -> tuple[torch.Tensor, torch.Tensor]:
        return tuple(
            dense(tensors, f"{prefix}{side}{suffix}{gate}", value)
            for side, value in (("ih", x), ("hh", hidden))
        )

    if kind == "RNN":
        return sum(both("")).tanh(), memory
    if kind == "GRU":
        r, z = (sum(both(gate)).sigmoid() for gate in (".r", ".z"))
        own, recurrent = both(".n")
        return (1 - z) * (own + r * recurrent).tanh() + z * hidden, memory
    i, f, o = (sum(both(gate)).sigmoid() for gate in (".i", ".f", ".o"))
    memory = f * memory + i * sum(both(".g")).tanh()
    hidden = o * memory.tanh()
    if f"{prefix}hr{suffix}.weight" in tensors:
        hidden = dense(tensors, f"{prefix}hr{suffix}", hidden)
    return hidden, memory


def run(
    kind: str, tensors: State, x: torch.Tensor, layers: int, size: int, out: int, both_ways: bool
) -> torch.Tensor:
    """The outputs (batch, steps, …) of a recurrent network, from its logical tensors."""
    for layer in range(layers):
        outputs = []
        for suffix in ("", "_reverse") if both_ways else ("",):
            steps = x.unbind(1)
            state = x.new_zeros(len(x), out), x.new_zeros(len(x), size)
            own = []
            for value in reversed(steps) if suffix else steps:
                state = step(kind, tensors, f"rnn._l{layer}{suffix}", value, state)
                own.append(state[0])
            outputs.append(torch.stack(own[::-1] if suffix else own, 1))
        x = torch.cat(outputs, 2)
    return x


RECURRENT: dict[str, dict[str, Any]] = {
    "plain": {}, "deep, both ways": {"num_layers": 2, "bidirectional": True}, "no bias": {"bias": False},
    "projected": {"proj_size": 3, "num_layers": 2},
}  # fmt: skip

CELLS = [
    (kind, case)
    for kind in ("RNN", "GRU", "LSTM")
    for case in RECURRENT
    if case != "projected" or kind == "LSTM"
]


@pytest.mark.parametrize(("kind", "case"), CELLS)
def test_recurrent_networks_gate_by_gate(kind: str, case: str, tmp_path: Path) -> None:
    options = RECURRENT[case]
    module = nn.ModuleDict({"rnn": getattr(nn, kind)(4, 5, batch_first=True, **options)})
    tensors = read_all(tmp_path, random_state(module))
    x = random_input(2, 6, 4)
    out = options.get("proj_size", 5)
    result = run(kind, tensors, x, options.get("num_layers", 1), 5, out, "bidirectional" in options)
    torch.testing.assert_close(result, module["rnn"](x)[0])
    found = {name: kind for name, kind in kinds(tensors).items() if ".hr_" not in name}
    gates = {"RNN": 1, "GRU": 3, "LSTM": 4}[kind]
    assert set(found.values()) == {"recurrent"}
    assert len(found) == 2 * gates * options.get("num_layers", 1) * (1 + ("bidirectional" in options))


def test_cells(tmp_path: Path) -> None:
    module = nn.LSTMCell(4, 5)
    tensors = read_all(tmp_path, random_state(module))
    x, state = random_input(2, 4), (random_input(2, 5), random_input(2, 5))
    for found, expected in zip(step("LSTM", tensors, "", x, state), module(x, state), strict=True):
        torch.testing.assert_close(found, expected)


class Conv1D(nn.Module):
    """GPT-2's linear layer: its weight is (in, out)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(inputs, outputs))
        self.bias = nn.Parameter(torch.empty(outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ self.weight + self.bias


class GPT2Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn = nn.ModuleDict({"c_attn": Conv1D(8, 24), "c_proj": Conv1D(8, 8)})
        self.attn.register_buffer("bias", torch.ones(1, 1, 6, 6, dtype=torch.float64).tril())
        self.attn.register_buffer("masked_bias", torch.tensor(-1e4))
        self.mlp = nn.ModuleDict({"c_fc": Conv1D(8, 32), "c_proj": Conv1D(32, 8)})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mixed = attend(*self.attn["c_attn"](x).split(8, 2), 2, is_causal=True)
        x = x + self.attn["c_proj"](mixed)
        return x + self.mlp["c_proj"](self.mlp["c_fc"](x).relu())


@pytest.mark.parametrize("config", [{"model_type": "gpt2", "n_head": 2, "n_embd": 8}, {}])
def test_gpt2(config: dict[str, Any], tmp_path: Path) -> None:
    module = GPT2Block()
    tensors = read_all(tmp_path, random_state(module), config)
    x = random_input(2, 6, 8)
    y = x + dense(tensors, "attn.c_proj", self_attention(tensors, "attn", x, 2, is_causal=True))
    y = y + dense(tensors, "mlp.c_proj", dense(tensors, "mlp.c_fc", y).relu())
    torch.testing.assert_close(y, module(x))
    assert kinds(tensors) == {
        "attn.q": "attention_q", "attn.k": "attention_k", "attn.v": "attention_v", "attn.c_proj": "attention_o",
        "mlp.c_fc": "linear", "mlp.c_proj": "linear",
    }  # fmt: skip


def by_head(fused: torch.Tensor, groups: int, size: int) -> list[torch.Tensor]:
    """GPT-NeoX's (BLOOM's, Falcon's) split: a group of query heads, its key head and its value head, the next."""
    heads = fused.unflatten(-1, (groups, -1, size))
    return [part.flatten(-3) for part in (heads[..., :-2, :], heads[..., -2:-1, :], heads[..., -1:, :])]


def in_turn(*sizes: int) -> Any:
    return lambda fused: fused.split(sizes, -1)


FUSED: dict[str, tuple[str, dict[str, Any], int, Any]] = {
    "timm": ("attn.qkv", {}, 24, in_turn(8, 8, 8)),
    "MPT": ("attn.Wqkv", {"model_type": "mpt", "d_model": 8, "n_heads": 2}, 24, in_turn(8, 8, 8)),
    "DBRX": (
        "attn.Wqkv",
        {"model_type": "dbrx", "d_model": 8, "n_heads": 4, "attn_config": {"kv_n_heads": 1}}, 12, in_turn(8, 2, 2),
    ),
    "Baichuan": ("self_attn.W_pack", {"model_type": "baichuan", "num_attention_heads": 2}, 24, in_turn(8, 8, 8)),
    "Phi-3": (
        "self_attn.qkv_proj",
        {"model_type": "phi3", "hidden_size": 8, "num_attention_heads": 4, "num_key_value_heads": 2},
        16, in_turn(8, 4, 4),
    ),
    "wide heads": (
        "attn.qkv_proj",
        {"model_type": "x", "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 3}, 24, in_turn(12, 6, 6),
    ),
    "a vision tower beside a text tower": (
        "visual.attn.qkv",
        {"hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2}, 24, in_turn(8, 8, 8),
    ),
    "GPT-NeoX": (
        "attention.query_key_value", {"model_type": "gpt_neox", "num_attention_heads": 4, "hidden_size": 8},
        24, lambda fused: by_head(fused, 4, 2),
    ),
    "BLOOM": (
        "self_attention.query_key_value", {"model_type": "bloom", "n_head": 2, "n_embed": 8},
        24, lambda fused: by_head(fused, 2, 4),
    ),
    "Falcon 7B": (
        "self_attention.query_key_value",
        {"model_type": "falcon", "num_attention_heads": 4, "multi_query": True, "num_kv_heads": 4},
        12, in_turn(8, 2, 2),
    ),
    "Falcon 40B": (
        "self_attention.query_key_value",
        {"model_type": "falcon", "num_attention_heads": 4, "num_kv_heads": 2, "new_decoder_architecture": True},
        16, lambda fused: by_head(fused, 2, 2),
    ),
    "Falcon RW": (
        "self_attention.query_key_value", {"model_type": "falcon", "num_attention_heads": 4, "multi_query": False},
        24, lambda fused: by_head(fused, 4, 2),
    ),
    "StarCoder": ("attn.c_attn", {"model_type": "gpt_bigcode", "n_head": 4, "n_embd": 8}, 12, in_turn(8, 2, 2)),
    "InternLM2": (
        "attention.wqkv", {"model_type": "internlm2", "num_attention_heads": 4, "num_key_value_heads": 2},
        16, lambda fused: by_head(fused, 2, 2),
    ),
    "GGUF": ("blk.0.attn_qkv", {}, 24, in_turn(8, 8, 8)),
}  # fmt: skip


@pytest.mark.parametrize("case", FUSED)
def test_fused_projections(case: str, tmp_path: Path) -> None:
    name, config, rows, parts = FUSED[case]
    module = nn.Linear(8, rows)
    state = random_state(module)
    tensors = read_all(tmp_path, {f"{name}.{role}": value for role, value in state.items()}, config)
    x = random_input(3, 8)
    parent = name.rpartition(".")[0] + (".attn_" if case == "GGUF" else ".")
    for part, expected in zip("qkv", parts(module(x)), strict=True):
        torch.testing.assert_close(dense(tensors, f"{parent}{part}", x), expected)
    assert kinds(tensors) == {f"{parent}{part}": f"attention_{part}" for part in "qkv"}


UNKNOWN: dict[str, tuple[str, tuple[int, ...], dict[str, Any]]] = {
    "no model type": ("attention.query_key_value", (24, 8), {"num_attention_heads": 4}),
    "no heads": ("attention.query_key_value", (24, 8), {"model_type": "gpt_neox"}),
    "heads that don't fit": (
        "attention.query_key_value", (24, 8), {"model_type": "gpt_neox", "num_attention_heads": 3},
    ),
    "CodeGen's own order": ("attn.qkv_proj", (24, 8), {"model_type": "codegen"}),
    "sizes that nothing says": ("attn.qkv", (20, 8), {}),
    "a convolution": ("attn.qkv", (24, 8, 1, 1), {}),
}  # fmt: skip


@pytest.mark.parametrize("case", UNKNOWN)
def test_fused_projections_of_unknown_layout_stay_fused(case: str) -> None:
    name, shape, config = UNKNOWN[case]
    tensors = [
        TensorInfo(f"{name}.weight", shape, "float32"),
        TensorInfo(f"{name}.bias", shape[:1], "float32"),
    ]
    views = views_of(tensors, config)
    assert [view.info for view in views.values()] == tensors
    (layer,) = layers_of(view.info for view in views.values())
    assert (layer.kind, set(layer.tensors)) == ("attention_qkv", {"weight", "bias"})


def test_beit_has_two_biases_of_three(tmp_path: Path) -> None:
    weight, bias = random_input(12, 4), random_input(4)
    state = {"attn.qkv.weight": weight, "attn.q_bias": bias, "attn.v_bias": bias + 1}
    tensors = read_all(tmp_path, state)
    assert torch.equal(tensors["attn.k.weight"], weight[4:8])
    found = {layer.name: layer.tensors for layer in layers_of(infos_of(tensors))}
    assert found == {
        "attn.q": {"weight": "attn.q.weight", "bias": "attn.q.bias"},
        "attn.k": {"weight": "attn.k.weight"},
        "attn.v": {"weight": "attn.v.weight", "bias": "attn.v.bias"},
    }


@pytest.mark.parametrize(
    ("fused", "parts"), [("gate_up_proj", ("gate", "up")), ("kv", ("k", "v")), ("to_kv", ("k", "v"))]
)
def test_halves(fused: str, parts: tuple[str, str], tmp_path: Path) -> None:
    weight = random_input(12, 4)
    tensors = read_all(tmp_path, {f"a.{fused}.weight": weight, "a.down_proj.weight": weight.T})
    assert torch.equal(torch.cat([tensors[f"a.{part}.weight"] for part in parts]), weight)
    assert tensors.keys() == {f"a.{part}.weight" for part in (*parts, "down_proj")}


def test_gpt2_that_attends_to_another_sequence(tmp_path: Path) -> None:
    weight, bias = random_input(4, 8), random_input(8)
    state = {f"crossattention.c_attn.{role}": value for role, value in (("weight", weight), ("bias", bias))}
    tensors = read_all(
        tmp_path, state | {"crossattention.q_attn.weight": random_input(4, 4)}, {"model_type": "gpt2"}
    )
    found = torch.cat([tensors["crossattention.k.weight"], tensors["crossattention.v.weight"]])
    assert torch.equal(found, weight.T)
    assert kinds(tensors) == {
        "crossattention.q_attn": "attention_q", "crossattention.k": "attention_k", "crossattention.v": "attention_v",
    }  # fmt: skip


def test_gpt2_whose_weights_have_their_outputs_first_already(tmp_path: Path) -> None:
    weight = random_input(12, 4)
    tensors = read_all(tmp_path, {"h.0.attn.c_attn.weight": weight}, {"model_type": "gpt2", "n_head": 2})
    assert torch.equal(torch.cat([tensors[f"h.0.attn.{part}.weight"] for part in "qkv"]), weight)


def test_names_that_are_taken_leave_a_module_fused(tmp_path: Path) -> None:
    state = {"attn.qkv.weight": random_input(12, 4), "attn.k.weight": random_input(4, 4)}
    assert read_all(tmp_path, state).keys() == state.keys()
    state = {"attn.qkv.weight": random_input(12, 4), "attn.qkv_proj.weight": random_input(12, 4)}
    assert len(read_all(tmp_path, state)) == 4

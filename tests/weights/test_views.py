"""Logical tensors: what is fused, transposed, quantised or renamed in a file, as the layers of the network have it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from peace_pipeline.symmetry.wiring.inference import infer_wiring
from peace_pipeline.weights.checkpoint import Checkpoint, open_checkpoint
from peace_pipeline.weights.errors import NotFinite, UnreadableCheckpoint, UnsupportedFormat
from peace_pipeline.weights.formats.safetensors import SafetensorsFile
from peace_pipeline.weights.layers import layers_of
from peace_pipeline.weights.local_blob import local_blob
from peace_pipeline.weights.logical import logical, views_of
from peace_pipeline.weights.sampling import Sampled
from peace_pipeline.weights.tensors import Part, TensorInfo
from peace_pipeline.zoo.trained import build
from peace_pipeline.zoo.trained.architectures import ARCHITECTURES
from tests.conftest import folded_tensors, infos, infos_of

State = Mapping[str, torch.Tensor]


def written(path: Path, state: State) -> Path:
    save_file({name: value.detach().clone().contiguous() for name, value in state.items()}, path)
    return path


def read_all(folder: Path, state: State, config: dict[str, Any] | None = None) -> dict[str, torch.Tensor]:
    """The logical tensors of a state dictionary, through a file."""
    with open_checkpoint([written(folder / "m.safetensors", state)]) as checkpoint:
        network = logical(checkpoint, config or {})
        found = {name: network.read(name, torch.float64) for name in network.tensors}
    for name, tensor in found.items():
        assert (network.tensors[name].name, network.tensors[name].shape) == (name, tuple(tensor.shape))
    return found


def random_state(module: nn.Module) -> dict[str, torch.Tensor]:
    """The module's own state, every parameter random (PyTorch starts with many zeros), float64."""
    torch.manual_seed(0)
    module.double().eval()
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return module.state_dict()


def dense(tensors: State, name: str, x: torch.Tensor) -> torch.Tensor:
    return F.linear(x, tensors[f"{name}.weight"], tensors.get(f"{name}.bias"))


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, heads: int, **masks: Any) -> torch.Tensor:
    """Attention of several heads: (batch, steps, width) each, keys and values of as many heads or fewer."""
    size = q.shape[-1] // heads
    q, k, v = (part.unflatten(-1, (-1, size)).transpose(1, 2) for part in (q, k, v))
    y = F.scaled_dot_product_attention(q, k, v, enable_gqa=k.shape[1] != heads, **masks)
    return y.transpose(1, 2).flatten(2)


def self_attention(tensors: State, name: str, x: torch.Tensor, heads: int, **masks: Any) -> torch.Tensor:
    return attend(*(dense(tensors, f"{name}.{part}", x) for part in "qkv"), heads, **masks)


def random_input(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def kinds(tensors: State) -> dict[str, str]:
    return {layer.name: layer.kind for layer in layers_of(infos_of(tensors))}


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


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_transposed_convolutions(rank: int, tmp_path: Path) -> None:
    module = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[rank - 1](3, 5, 2)
    tensors = read_all(tmp_path, {f"up.{name}": value for name, value in random_state(module).items()})
    torch.testing.assert_close(tensors["up.weight"], module.weight.transpose(0, 1))
    assert kinds(tensors) == {"up": f"conv{rank}d"}


REPARAMETRISED = {
    "weight norm": (nn.Linear(4, 6), nn.utils.parametrizations.weight_norm, {}),
    "weight norm of old": (nn.Conv2d(3, 6, 2), nn.utils.weight_norm, {}),
    "along another axis": (nn.Conv1d(4, 6, 3), nn.utils.weight_norm, {"dim": 2}),
    "over all": (nn.Conv1d(4, 6, 3), nn.utils.weight_norm, {"dim": None}),
    "spectral norm": (nn.Linear(4, 6), nn.utils.parametrizations.spectral_norm, {}),
    "spectral norm of old": (nn.Conv2d(3, 6, 2), nn.utils.spectral_norm, {}),
    "of a transposed convolution": (nn.ConvTranspose2d(3, 6, 2, bias=False), nn.utils.spectral_norm, {}),
}


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("case", REPARAMETRISED)
def test_reparametrised_weights(case: str, tmp_path: Path) -> None:
    plain, norm, options = REPARAMETRISED[case]
    module = nn.ModuleDict({"part": norm(plain, **options)}).double().eval()
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    for hook in module["part"]._forward_pre_hooks.values():  # the old functions set the weight at each call
        hook(module["part"], ())
    tensors = read_all(tmp_path, module.state_dict())
    torch.testing.assert_close(tensors["part.weight"], module["part"].weight.detach())
    assert {"part.weight"} <= tensors.keys() <= {"part.weight", "part.bias"}


def test_tensors_that_only_look_reparametrised_stay(tmp_path: Path) -> None:
    state = {
        "time_mix_g": random_input(1, 1, 4),
        "time_mix_v": random_input(1, 1, 4),
        "a.weight_g": random_input(3),
    }
    assert read_all(tmp_path, state).keys() == state.keys()


def quantised(state: State, config: dict[str, Any], folder: Path) -> torch.Tensor:
    tensors = read_all(folder, state, config)
    assert tensors.keys() == {"a.weight", "a.bias"}
    return tensors["a.weight"]


FLOAT8 = (torch.randn(300, 200, generator=torch.Generator().manual_seed(2)) * 100).to(torch.float8_e4m3fn)
BIAS = torch.ones(300)


def test_float8_with_a_scale_a_block(tmp_path: Path) -> None:
    scale = torch.rand(3, 2) + 0.5
    state = {"a.weight": FLOAT8, "a.weight_scale_inv": scale, "a.bias": BIAS}
    expected = FLOAT8.double()
    for row in range(3):
        for column in range(2):
            expected[row * 128 : (row + 1) * 128, column * 128 : (column + 1) * 128] *= scale[
                row, column
            ].double()
    torch.testing.assert_close(quantised(state, {}, tmp_path), expected)
    other = {"quantization_config": {"weight_block_size": [64, 64]}}
    state["a.weight_scale_inv"] = scale = torch.rand(5, 4)
    expected = FLOAT8.double() * scale.double().repeat_interleave(64, 0).repeat_interleave(64, 1)[:300, :200]
    torch.testing.assert_close(quantised(state, other, tmp_path), expected)


@pytest.mark.parametrize("shape", [(), (1,), (300,), (300, 1), (300, 4)])
@pytest.mark.parametrize("kind", [torch.float8_e4m3fn, torch.float8_e5m2, torch.int8])
def test_scales_of_tensors_rows_and_groups(kind: torch.dtype, shape: tuple[int, ...], tmp_path: Path) -> None:
    weight, scale = FLOAT8.float().clamp(-120, 120).to(kind), torch.rand(shape) + 0.5
    state = {"a.weight": weight, "a.weight_scale": scale, "a.bias": BIAS}
    grid = scale.double().reshape(len(scale) if shape else 1, -1)
    expected = weight.double() * grid.repeat_interleave(200 // grid.shape[1], 1)
    torch.testing.assert_close(quantised(state, {}, tmp_path), expected)


def test_int8_of_bitsandbytes(tmp_path: Path) -> None:
    weight = random_input(300, 200).float()
    peak = weight.abs().amax(1)
    rounded = (weight * (127 / peak[:, None])).round().to(torch.int8)
    state = {
        "a.weight": rounded,
        "a.SCB": peak,
        "a.weight_format": torch.tensor(0, dtype=torch.uint8),
        "a.bias": BIAS,
    }
    tensors = read_all(tmp_path, state)
    assert float((tensors["a.weight"] - weight).abs().max()) < float(peak.max()) / 127
    assert [layer.name for layer in layers_of(infos_of(tensors))] == ["a"]


def test_a_quantised_fused_projection(tmp_path: Path) -> None:
    weight, scale = FLOAT8[:24, :8], torch.rand(24, 1)
    tensors = read_all(tmp_path, {"attn.qkv.weight": weight, "attn.qkv.weight_scale": scale})
    found = torch.cat([tensors[f"attn.{part}.weight"] for part in "qkv"])
    torch.testing.assert_close(found, weight.double() * scale.double())


INTEGERS = torch.ones(8, 4, dtype=torch.int32)
BYTES = torch.ones(8, 4, dtype=torch.uint8)
PACKED: dict[str, tuple[dict[str, torch.Tensor], dict[str, Any], str]] = {
    "GPTQ": (
        {"a.qweight": INTEGERS, "a.qzeros": INTEGERS, "a.scales": torch.ones(4)},
        {"quantization_config": {"quant_method": "gptq"}}, "quantised .gptq.",
    ),
    "no config": ({"a.qweight": INTEGERS}, {"quantization_config": 3}, "GPTQ or AWQ"),
    "4 bits of bitsandbytes": ({"a.weight": BYTES, "a.weight.absmax": torch.ones(4)}, {}, "bitsandbytes 4-bit"),
    "MXFP4": ({"e.down_proj_blocks": BYTES, "e.down_proj_scales": BYTES}, {}, "quantised .None."),
    "packed": ({"a.weight_packed": INTEGERS, "a.weight_scale": torch.ones(8, 1)}, {}, "compressed-tensors"),
    "zero points": (
        {"a.weight": BYTES.to(torch.int8), "a.weight_scale": torch.ones(8, 1), "a.weight_zero_point": BYTES},
        {}, "zero points",
    ),
    "by the config": (
        {"a.codes": INTEGERS, "a.codebooks": torch.ones(8, 4)},
        {"quantization_config": {"quant_method": "aqlm"}}, "aqlm",
    ),
    "no scales": ({"a.weight": BYTES.to(torch.int8)}, {}, "quantised .None."),
    "a type of its own": ({"a.weight": BYTES, "a.weight_scale": torch.ones(1)}, {}, "quantised .None."),
    "scales that don't fit": ({"a.weight": FLOAT8, "a.weight_scale": torch.ones(7, 3)}, {}, "don't fit"),
    "scales of three axes": ({"a.weight": FLOAT8, "a.weight_scale": torch.ones(1, 1, 1)}, {}, "don't fit"),
}  # fmt: skip


@pytest.mark.parametrize("case", PACKED)
def test_weights_that_are_not_unpacked_are_refused(case: str, tmp_path: Path) -> None:
    state, config, reason = PACKED[case]
    with pytest.raises(UnsupportedFormat, match=reason):
        read_all(tmp_path, {**state, "norm.weight": torch.ones(4)}, config)


def test_what_only_looks_packed(tmp_path: Path) -> None:
    state = {
        "attn.W_q": torch.ones(4, 4),
        "q_scale": torch.ones(4),
        "codes": INTEGERS,
        "codebooks": torch.ones(4, 4),
    }
    assert read_all(tmp_path, state).keys() == state.keys()


def test_what_comes_to_values_that_are_not_finite(tmp_path: Path) -> None:
    scaled = {"a.weight": FLOAT8, "a.weight_scale": torch.tensor(3e38)}
    zero = {"a.weight_g": torch.ones(2, 1), "a.weight_v": torch.zeros(2, 3)}
    for state in (scaled, zero):
        with open_checkpoint([written(tmp_path / "m.safetensors", state)]) as checkpoint:
            network = logical(checkpoint, {})
            with pytest.raises(NotFinite, match=r"'a\.weight"):
                network.read("a.weight")


def test_tied_embeddings_count_once(tmp_path: Path) -> None:
    table = random_input(9, 4)
    state = {
        "model.embed_tokens.weight": table, "lm_head.weight": table, "head.weight": table,
        "model.decoder.weight": random_input(4, 4),
    }  # fmt: skip
    for value in (False, None, "true", 1):
        assert read_all(tmp_path, state, {"tie_word_embeddings": value}).keys() == state.keys()
    assert read_all(tmp_path, state, {"tie_word_embeddings": True}).keys() == state.keys() - {
        "lm_head.weight"
    }


def test_buffers_are_no_layers(tmp_path: Path) -> None:
    state = {
        "layers.0.rotary_emb.inv_freq": torch.ones(4), "embeddings.position_ids": torch.ones(1, 4),
        "h.0.attn.bias": torch.ones(1, 1, 6, 6), "h.0.attn.masked_bias": torch.ones(1),
        "blocks.0.attn.relative_position_index": torch.ones(4, 4), "blocks.0.attn_mask": torch.ones(4, 4, 4),
        "bn.num_batches_tracked": torch.ones(1), "total_ops": torch.ones(1), "alphas_cumprod": torch.ones(10),
        "sqrt_one_minus_alphas_cumprod": torch.ones(10), "posterior_variance": torch.ones(10),
        "a.input_scale": torch.ones(1),
    }  # fmt: skip
    kept = {
        "attn.bias": torch.ones(4),
        "alphas.weight": torch.ones(4, 4),
        "attn_masker.weight": torch.ones(4, 4),
    }
    assert read_all(tmp_path, state | kept).keys() == kept.keys()


def test_adapters(tmp_path: Path) -> None:
    prefix = "base_model.model.model.layers.0.self_attn.q_proj"
    state = {
        f"{prefix}.lora_A.weight": random_input(2, 8), f"{prefix}.lora_B.weight": random_input(6, 2),
        f"{prefix}.lora_magnitude_vector": random_input(6),
        "base_model.model.wte.lora_embedding_A": random_input(2, 9),
        "base_model.model.score.modules_to_save.default.weight": random_input(2, 8),
    }  # fmt: skip
    expected = {
        "model.layers.0.self_attn.q_proj.lora_A": "lora_a", "model.layers.0.self_attn.q_proj.lora_B": "lora_b",
        "model.layers.0.self_attn.q_proj.lora_magnitude_vector": "norm", "wte.lora_embedding_A": "lora_a",
        "score": "linear",
    }  # fmt: skip
    assert kinds(read_all(tmp_path, state)) == expected
    in_training = {
        name.replace("lora_A", "lora_A.default").replace("lora_B", "lora_B.default"): value
        for name, value in state.items()
    }
    base = {f"{prefix}.base_layer.weight": random_input(6, 8)}
    found = kinds(read_all(tmp_path, in_training | base))
    assert found == expected | {"model.layers.0.self_attn.q_proj": "attention_q"}


ZOO_KINDS = {
    "vit": {
        "vit.embeddings.cls_token": "embedding", "vit.embeddings.position_embeddings": "embedding",
        "vit.embeddings.patch_embeddings.projection": "conv2d",
        "vit.encoder.layer.0.attention.attention.query": "attention_q",
        "vit.encoder.layer.0.attention.attention.key": "attention_k",
        "vit.encoder.layer.0.attention.attention.value": "attention_v",
        "vit.encoder.layer.0.attention.output.dense": "attention_o",
        "vit.encoder.layer.0.intermediate.dense": "linear", "vit.encoder.layer.0.output.dense": "linear",
        "vit.encoder.layer.0.layernorm_before": "norm", "vit.encoder.layer.0.layernorm_after": "norm",
        "vit.layernorm": "norm", "classifier": "linear",
    },
    "bert": {
        "bert.embeddings.word_embeddings": "embedding", "bert.embeddings.position_embeddings": "embedding",
        "bert.embeddings.token_type_embeddings": "embedding", "bert.embeddings.LayerNorm": "norm",
        "bert.encoder.layer.0.attention.self.query": "attention_q",
        "bert.encoder.layer.0.attention.self.key": "attention_k",
        "bert.encoder.layer.0.attention.self.value": "attention_v",
        "bert.encoder.layer.0.attention.output.dense": "attention_o",
        "bert.encoder.layer.0.attention.output.LayerNorm": "norm",
        "bert.encoder.layer.0.intermediate.dense": "linear", "bert.encoder.layer.0.output.dense": "linear",
        "bert.encoder.layer.0.output.LayerNorm": "norm", "bert.pooler.dense": "linear", "classifier": "linear",
    },
    "text-lstm": {
        "embedding": "embedding", "fc": "linear",
        **{f"lstm.{side}_l0.{gate}": "recurrent" for side in ("ih", "hh") for gate in "ifgo"},
    },
    "gru": {"fc": "linear", **{f"gru.{side}_l0.{gate}": "recurrent" for side in ("ih", "hh") for gate in "rzn"}},
}  # fmt: skip


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_our_own_networks(architecture: str, tmp_path: Path) -> None:
    config = list(ARCHITECTURES[architecture].values())[1]
    state = random_state(build(config))
    tensors = read_all(tmp_path, state, config)
    if architecture in ZOO_KINDS:
        assert kinds(tensors) == ZOO_KINDS[architecture]
    gated = {name for name in state if name.startswith(("lstm.", "gru."))}
    for name in gated:
        role, side, number = name.partition(".")[2].split("_")
        cell = name.partition(".")[0]
        parts = [f"{cell}.{side}_{number}.{gate}.{role}" for gate in ("ifgo" if cell == "lstm" else "rzn")]
        assert torch.equal(torch.cat([tensors.pop(part) for part in parts]), state[name])
    plain = {name for name, value in state.items() if value.dim()} - gated
    assert tensors.keys() == plain
    assert all(torch.equal(tensors[name], state[name]) for name in plain)


@contextmanager
def sampled(path: Path, parts: Mapping[str, Part]) -> Iterator[Checkpoint]:
    """A checkpoint of which only parts of some tensors are had."""
    with local_blob(path) as blob:
        file = SafetensorsFile(blob)
        own = {info.name: replace(info, part=parts.get(info.name)) for info in file.inventory()}
        yield Checkpoint({path.name: Sampled(file, own)})


@st.composite
def blocks(draw: st.DrawFn, size: int) -> tuple[tuple[int, int], ...]:
    rows = sorted(draw(st.sets(st.integers(0, size), min_size=2, max_size=12)))
    return tuple(zip(rows[::2], rows[1::2], strict=False))


EVERYTHING: dict[str, torch.Tensor] = {
    "h.0.attn.c_attn.weight": torch.empty(8, 24), "h.0.attn.c_attn.bias": torch.empty(24),
    "h.0.mlp.c_fc.weight": torch.empty(8, 32), "h.0.mlp.c_fc.bias": torch.empty(32),
    "attention.query_key_value.weight": torch.empty(24, 8), "attention.query_key_value.bias": torch.empty(24),
    "self_attn.in_proj_weight": torch.empty(24, 8), "self_attn.in_proj_bias": torch.empty(24),
    "x.q_proj_weight": torch.empty(8, 8), "x.k_proj_weight": torch.empty(8, 5), "x.v_proj_weight": torch.empty(8, 4),
    "x.in_proj_bias": torch.empty(24), "e.qkv.weight": torch.empty(24, 8), "e.q_bias": torch.empty(8),
    "e.v_bias": torch.empty(8), "mlp.gate_up_proj.weight": torch.empty(10, 8),
    "lstm.weight_ih_l0": torch.empty(20, 4), "lstm.weight_hh_l0": torch.empty(20, 5),
    "lstm.bias_ih_l0": torch.empty(20), "lstm.bias_hh_l0": torch.empty(20),
    "gru.weight_ih_l0_reverse": torch.empty(15, 4), "gru.weight_hh_l0_reverse": torch.empty(15, 5),
    "gru.bias_hh_l0_reverse": torch.empty(15),
    "up.weight": torch.empty(3, 5, 2, 2), "up.bias": torch.empty(5), "bn.weight": torch.empty(5),
    "bn.bias": torch.empty(5), "bn.running_mean": torch.empty(5), "bn.running_var": torch.empty(5),
    "base_model.model.q_proj.lora_A.weight": torch.empty(2, 8), "q_proj.lora_A.weight": torch.empty(2, 8),
    "cls_token": torch.empty(1, 1, 8), "attn.qkv.bias": torch.empty(24), "a.bias": torch.empty(3),
    "a.bias.weight": torch.empty(3, 3), "a.weight": torch.empty(4, 3), ".weight": torch.empty(3, 4),
    "norm.bias": torch.empty(6),
}  # fmt: skip
"""Tensors of all spellings, of which any subset may be in a file; each value of them is there once."""
for _number, _name in enumerate(EVERYTHING):
    _tensor = EVERYTHING[_name]
    EVERYTHING[_name] = (
        torch.arange(_tensor.numel(), dtype=torch.float64).view(_tensor.shape) + 1000 * _number
    )
NEOX = {"model_type": "gpt_neox", "num_attention_heads": 4}


@given(names=st.sets(st.sampled_from(list(EVERYTHING)), min_size=1))
def test_every_value_is_in_one_layer_once(names: set[str], tmp_path: Path) -> None:
    state = {name: EVERYTHING[name] for name in names}
    tensors = read_all(tmp_path, state, NEOX)
    layers = layers_of(infos_of(tensors))
    used = [name for layer in layers for name in layer.tensors.values()]
    assert sorted(used) == sorted(tensors)
    assert len({layer.name for layer in layers}) == len(layers)
    values = torch.cat([tensors[name].flatten() for name in used])
    assert torch.equal(values.sort()[0], torch.cat([value.flatten() for value in state.values()]).sort()[0])
    for layer in layers:
        assert layer.shape == tensors[layer.tensors.get("weight") or next(iter(layer.tensors.values()))].shape
        assert not (layer.is_norm and layer.name.endswith("bias") and len(layer.tensors) == 1)
    wiring = infer_wiring(infos_of(tensors), NEOX)
    folded = folded_tensors(wiring, lambda name: tensors[name])
    assert folded.keys() == {name for wired in wiring.folded.layers for name in wired.layer.tensors.values()}


@given(data=st.data())
def test_parts_of_stored_tensors_are_parts_of_logical_ones(data: st.DataObject, tmp_path: Path) -> None:
    path = written(tmp_path / "m.safetensors", EVERYTHING)
    names = data.draw(st.sets(st.sampled_from(list(EVERYTHING)), max_size=5))
    parts = {name: Part(0, data.draw(blocks(len(EVERYTHING[name])))) for name in sorted(names)}
    with open_checkpoint([path]) as checkpoint, sampled(path, parts) as partly:
        whole, network = logical(checkpoint, NEOX), logical(partly, NEOX)
        for name, info in network.tensors.items():
            if name not in whole.tensors:  # left fused, as not a row of one of its layers is had
                continue
            expected = whole.read(name)
            if info.part is not None:
                expected = expected.index_select(info.part.axis, info.part.index)
                assert info.part.index.diff().gt(0).all()
            assert torch.equal(network.read(name), expected)
            assert info.shape == whole.tensors[name].shape
        stored = sum(EVERYTHING[name].numel() for name in EVERYTHING if name not in parts)
        had = sum(EVERYTHING[name][0].numel() * part.size for name, part in parts.items())
        assert sum(network.read(name).numel() for name in network.tensors) == stored + had


def test_a_part_of_a_quantised_weight(tmp_path: Path) -> None:
    state = {"a.weight": FLOAT8, "a.weight_scale_inv": torch.rand(3, 2)}
    path = written(tmp_path / "m.safetensors", state)
    parts = {"a.weight": Part(0, ((3, 10), (120, 140), (290, 300)))}
    with open_checkpoint([path]) as checkpoint, sampled(path, parts) as partly:
        expected = logical(checkpoint, {}).read("a.weight")[parts["a.weight"].index]
        assert torch.equal(logical(partly, {}).read("a.weight"), expected)
    parts = {"a.weight_scale_inv": Part(0, ((0, 1),))}
    with (
        sampled(path, parts) as partly,
        pytest.raises(UnsupportedFormat, match="leaves some of its scales out"),
    ):
        logical(partly, {})


class Counting(SafetensorsFile):
    """Counts the values that are read."""

    values = 0

    def read(self, name: str, rows: tuple[int, int] | None = None) -> torch.Tensor:
        tensor = super().read(name, rows)
        self.values += tensor.numel()
        return tensor


def test_parts_of_a_fused_tensor_are_read_once(tmp_path: Path) -> None:
    names = (
        "attention.query_key_value.weight",
        "self_attn.in_proj_weight",
        "lstm.weight_ih_l0",
        "lstm.weight_hh_l0",
    )
    state = {name: EVERYTHING[name] for name in names}
    with local_blob(written(tmp_path / "m.safetensors", state)) as blob:
        file = Counting(blob)
        network = logical(Checkpoint({"m": file}), NEOX)
        for name in network.tensors:
            network.read(name)
    assert file.values == sum(value.numel() for value in state.values())


ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 30), st.sampled_from([2**31, 2**70, 0.5, "gpt_neox", "x"]),
    st.lists(st.integers(0, 5), max_size=2), st.dictionaries(st.text(max_size=2), st.integers(), max_size=1),
)  # fmt: skip
KEYS = [
    "model_type", "num_attention_heads", "n_head", "num_key_value_heads", "hidden_size", "head_dim", "multi_query",
    "attn_config", "quantization_config", "tie_word_embeddings", "new_decoder_architecture", "text_config",
]  # fmt: skip


@given(
    config=st.dictionaries(st.sampled_from(KEYS), ANYTHING),
    model_type=st.sampled_from(["gpt_neox", "falcon", "gpt_bigcode", "internlm2", "gpt2", "phi3"]),
)
def test_a_hostile_config_changes_no_value(config: dict[str, Any], model_type: str, tmp_path: Path) -> None:
    tensors = read_all(tmp_path, EVERYTHING, {"model_type": model_type} | config)
    values = torch.cat([value.flatten() for value in tensors.values()])
    assert torch.equal(
        values.sort()[0], torch.cat([value.flatten() for value in EVERYTHING.values()]).sort()[0]
    )


NAMES = st.one_of(
    st.sampled_from(
        [*EVERYTHING, "lstm.weight_hr_l0", "a.weight_scale", "a.SCB", "a.weight_g", "a.weight_v", "x"]
    ),
    st.text("aqkvbiwght_.0:SCBlnorm", max_size=24),
)
SHAPES = st.lists(st.integers(0, 5), max_size=4).map(tuple)
DTYPES = st.sampled_from(["float32", "float8_e4m3fn", "int8", "uint8", "int64", "bool"])


@given(
    tensors=st.dictionaries(NAMES, st.tuples(SHAPES, DTYPES)),
    config=st.dictionaries(st.sampled_from(KEYS), ANYTHING),
)
def test_any_names_are_taken_or_refused(tensors: dict[str, Any], config: dict[str, Any]) -> None:
    try:
        views = views_of([TensorInfo(name, *rest) for name, rest in tensors.items()], config)
    except UnreadableCheckpoint:
        return
    layers_of(replace(view.info, name=name) for name, view in views.items())


def test_many_tensors_take_no_quadratic_time() -> None:
    block = infos(
        attn__qkv__weight=(24, 8), attn__qkv__bias=(24,), attn__proj__weight=(8, 8), norm__weight=(8,),
        norm__bias=(8,), lstm__weight_ih_l0=(32, 8), lstm__weight_hh_l0=(32, 8), conv__weight=(8, 1, 3, 3),
    )  # fmt: skip
    tensors = [replace(info, name=f"h.{number}.{info.name}") for number in range(2000) for info in block]
    started = time.process_time()
    views = views_of(tensors, {"tie_word_embeddings": True})
    layers = layers_of(replace(view.info, name=name) for name, view in views.items())
    assert len(layers) == 2000 * (3 + 1 + 1 + 8 + 1)
    assert time.process_time() - started < 10


def test_a_part_of_a_weight_normed_convolution(tmp_path: Path) -> None:
    module = nn.utils.parametrizations.weight_norm(nn.Conv1d(5, 40, 3))
    path = written(tmp_path / "m.safetensors", random_state(module))
    part = Part(0, ((3, 9), (20, 22)))
    with sampled(path, {"parametrizations.weight.original1": part}) as partly:
        network = logical(partly, {})
        assert network.tensors["weight"].part == part
        expected = module.weight.detach()[part.index]
        torch.testing.assert_close(network.read("weight", torch.float64), expected)


def test_a_head_of_other_values_than_the_embedding_is_no_copy(tmp_path: Path) -> None:
    embedding = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    other = embedding.clone()
    other[5, 3] += 1
    tied = {"tie_word_embeddings": True}
    named = {"embed_tokens.weight": embedding}
    assert read_all(tmp_path, named | {"lm_head.weight": embedding.clone()}, tied).keys() == named.keys()
    assert len(read_all(tmp_path, named | {"lm_head.weight": other}, tied)) == 2


@pytest.mark.parametrize("model_type", ["bert", "gpt2", "t5", "gemma"])
def test_what_a_family_ties_where_the_config_does_not_say(model_type: str, tmp_path: Path) -> None:
    embedding = torch.ones(6, 4)
    state = {"shared.weight": embedding, "lm_head.weight": embedding.clone()}
    assert len(read_all(tmp_path, state, {"model_type": model_type})) == 1
    assert len(read_all(tmp_path, state, {"model_type": model_type, "tie_word_embeddings": False})) == 2
    assert len(read_all(tmp_path, state, {"model_type": "llama"})) == 2


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_gains_of_gemma_are_what_its_norms_multiply_by(dtype: torch.dtype, tmp_path: Path) -> None:
    stored = torch.tensor([0.001, -1.0, 2.5]).to(dtype)
    state = {"model.norm.weight": stored, "model.layers.0.mlp.up_proj.weight": torch.ones(2, 3, dtype=dtype)}
    with local_blob(written(tmp_path / "m.safetensors", state)) as blob:
        network = logical(Checkpoint({"m": SafetensorsFile(blob)}), {"model_type": "gemma"})
        gain = network.read("model.norm.weight", torch.float64)
        assert torch.equal(gain, stored.double() + 1)
        assert torch.equal(network.read("model.layers.0.mlp.up_proj.weight"), torch.ones(2, 3))
        same = network.rewritten("model.norm.weight", lambda name, old: gain)
    assert same is not None
    assert same.dtype == dtype
    assert torch.equal(same, stored)

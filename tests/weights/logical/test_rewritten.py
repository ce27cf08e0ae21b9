"""New values of logical tensors land in the stored ones that they were had from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from peace_pipeline.weights.checkpoint import open_checkpoint
from peace_pipeline.weights.errors import UnsupportedFormat
from peace_pipeline.weights.logical import NewValues, logical
from peace_pipeline.weights.rewriting import rewrite
from tests.weights.rewritten import numbers


def changed_logically(folder: Path, destination: Path, new: NewValues, config: dict[str, Any]) -> Path:
    """A copy of a folder's model with new logical tensors."""
    weights = sorted(folder.glob("*.safetensors"))
    with open_checkpoint(weights) as checkpoint:
        tensors = logical(checkpoint, config)
        rewrite(folder, destination, weights, lambda name: tensors.rewritten(name, new))
    return destination


def fused_state(dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """GPT-2's attention (Conv1D, queries, keys and values in one), GPT-NeoX's (by head), an LSTM."""
    state = {
        "h.0.attn.c_attn.weight": numbers(8, 24),
        "h.0.attn.c_attn.bias": numbers(24),
        "h.0.attn.c_proj.weight": numbers(8, 8),
        "h.0.attn.bias": torch.ones(1, 1, 4, 4).tril(),
        "layers.0.qkv_proj.weight": numbers(16, 8),
        "layers.0.mlp.gate_up_proj.weight": numbers(20, 8),
        "lstm.weight_ih_l0": numbers(12, 5),
        "lstm.weight_hh_l0": numbers(12, 3),
        "lstm.bias_ih_l0": numbers(12),
    }
    return {name: tensor.to(dtype) for name, tensor in state.items()}


FUSED = {"n_embd": 8, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_logical_tensors_reversed_twice(dtype: torch.dtype, tmp_path: Path) -> None:
    state, source = fused_state(dtype), tmp_path / "src"
    source.mkdir()
    save_file(state, source / "model.safetensors")
    config = FUSED | {"num_key_value_heads": 2, "model_type": "gpt2"}
    seen: dict[str, torch.Tensor] = {}

    def reverse(name: str, tensor: torch.Tensor) -> torch.Tensor:
        seen[name] = tensor
        return tensor.flip(0)

    once = changed_logically(source, tmp_path / "once", reverse, config)
    with open_checkpoint([once / "model.safetensors"]) as checkpoint:
        network = logical(checkpoint, config)
        assert network.tensors.keys() == seen.keys()
        assert {"h.0.attn.q.weight", "layers.0.mlp.gate.weight", "lstm.ih_l0.f.weight"} <= seen.keys()
        for name, tensor in seen.items():
            assert tensor.dtype == dtype
            assert torch.equal(network.read(name, None), tensor.flip(0))
        assert torch.equal(checkpoint.read("h.0.attn.bias", None), state["h.0.attn.bias"])
    twice = changed_logically(once, tmp_path / "twice", reverse, config)
    weights = [folder / "model.safetensors" for folder in (source, twice)]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_one_logical_tensor_of_several_in_one(tmp_path: Path) -> None:
    source = tmp_path / "src"
    source.mkdir()
    weight = numbers(24, 8)  # of two heads: queries, keys, values of the first, then of the second
    save_file(
        {"layers.0.query_key_value.weight": weight, "norm.weight": numbers(8)}, source / "model.safetensors"
    )
    config = {"model_type": "gpt_neox", "num_attention_heads": 2, "hidden_size": 8}
    copy = changed_logically(
        source,
        tmp_path / "dst",
        lambda name, tensor: tensor * 2 if name == "layers.0.k.weight" else None,
        config,
    )
    found = load_file(copy / "model.safetensors")
    expected = weight.clone()
    expected[4:8] *= 2
    expected[16:20] *= 2
    assert torch.equal(found["layers.0.query_key_value.weight"], expected)
    assert torch.equal(found["norm.weight"], numbers(8))


def test_new_values_are_cast_once(tmp_path: Path) -> None:
    source = tmp_path / "src"
    source.mkdir()
    weight = numbers(4, 4, dtype=torch.bfloat16)
    save_file({"fc.weight": weight}, source / "model.safetensors")
    copy = changed_logically(source, tmp_path / "dst", lambda name, tensor: tensor.double() / 3, {})
    assert torch.equal(load_file(copy / "model.safetensors")["fc.weight"], (weight.double() / 3).bfloat16())
    with pytest.raises(ValueError, match=r"'fc\.weight' has shape \(4, 4\), not \(2, 4\)"):
        changed_logically(source, tmp_path / "other", lambda name, tensor: tensor[:2], {})


def test_a_tied_copy_gets_the_embeddings_values(tmp_path: Path) -> None:
    source = tmp_path / "src"
    source.mkdir()
    embeddings = {
        "a.model.embed_tokens.weight": numbers(6, 4),
        "b.model.embed_tokens.weight": numbers(6, 4) + 1,
    }
    first, second = embeddings.values()
    copies = {"a.lm_head.weight": first.half(), "b.lm_head.weight": second.clone()}
    save_file(embeddings, source / "model-00001-of-00002.safetensors")
    save_file(copies, source / "model-00002-of-00002.safetensors")
    copy = changed_logically(
        source, tmp_path / "dst", lambda name, tensor: -tensor.flip(1), {"tie_word_embeddings": True}
    )
    found = load_file(copy / "model-00002-of-00002.safetensors")
    assert torch.equal(found["a.lm_head.weight"], -embeddings["a.model.embed_tokens.weight"].half().flip(1))
    assert torch.equal(found["b.lm_head.weight"], -embeddings["b.model.embed_tokens.weight"].flip(1))


@pytest.mark.parametrize(
    "state",
    [
        {"qkv.weight_g": numbers(12, 1), "qkv.weight_v": numbers(12, 4)},
        nn.utils.parametrizations.weight_norm(nn.Conv1d(5, 4, 3)).state_dict(),
        nn.utils.spectral_norm(nn.Linear(5, 4)).state_dict(),
        {"fc.weight": numbers(4, 4).to(torch.float8_e4m3fn), "fc.weight_scale": numbers(4, 1)},
    ],
    ids=["fused weight norm", "weight norm", "spectral norm", "scales"],
)
def test_computed_tensors_are_copied_but_not_changed(state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    source = tmp_path / "src"
    source.mkdir()
    state = {name: tensor.detach().clone() for name, tensor in state.items()} | {"norm.bias": numbers(3)}
    save_file(state, source / "model.safetensors")

    def change(changed: str) -> NewValues:
        return lambda name, tensor: tensor * 2 if name.endswith(changed) else None

    copy = changed_logically(source, tmp_path / "dst", change("norm.bias"), {})
    found = load_file(copy / "model.safetensors")
    assert torch.equal(found["norm.bias"], 2 * state["norm.bias"])
    assert all(torch.equal(found[name].float(), state[name].float()) for name in state.keys() - {"norm.bias"})
    with pytest.raises(UnsupportedFormat, match=r"is computed from '.*', '.*': it can't be changed"):
        changed_logically(source, tmp_path / "other", change("weight"), {})


def test_what_holds_values_that_are_not_finite_stays(tmp_path: Path) -> None:
    source = tmp_path / "src"
    source.mkdir()
    weight = numbers(6, 4)
    weight[2] = torch.nan
    save_file({"a.weight": weight, "b.weight": numbers(4, 6)}, source / "model.safetensors")

    def of_b(name: str, tensor: torch.Tensor) -> torch.Tensor | None:
        return -tensor if name == "b.weight" else None

    changed = load_file(changed_logically(source, tmp_path / "b", of_b, {}) / "model.safetensors")
    assert torch.equal(changed["a.weight"].isnan(), weight.isnan())
    with pytest.raises(UnsupportedFormat, match=r"'a\.weight' holds values that are not finite: it stays"):
        changed_logically(source, tmp_path / "a", lambda _, tensor: -tensor, {})

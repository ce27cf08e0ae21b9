"""Gains that are stored less one, or whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from peace_pipeline.symmetry.opening import OpenNetwork
from peace_pipeline.weights.checkpoint import open_checkpoint
from tests.weights.logical.states import random_input, read_all

SAID = {
    "model_type": "gemma",
    "architectures": ["GemmaForCausalLM"],
    "num_attention_heads": 4,
    "hidden_size": 32,
}
SHAPES = {
    "token_embd": (50, 32), "output_norm": (32,), "blk.0.attn_norm": (32,), "blk.0.ffn_norm": (32,),
    "blk.0.attn_q": (32, 32), "blk.0.attn_k": (32, 32), "blk.0.attn_v": (32, 32), "blk.0.attn_output": (32, 32),
    "blk.0.ffn_gate": (48, 32), "blk.0.ffn_up": (48, 32), "blk.0.ffn_down": (32, 48),
}  # fmt: skip


@pytest.mark.parametrize("config", [{}, SAID])
def test_gguf_files_store_them_whole_whatever_stands_beside(config: dict[str, Any], tmp_path: Path) -> None:
    writer = gguf.GGUFWriter(tmp_path / "gemma.gguf", "gemma")
    writer.add_block_count(1)
    writer.add_head_count(4)
    writer.add_head_count_kv(4)
    for name, shape in SHAPES.items():
        writer.add_tensor(f"{name}.weight", np.full(shape, 1.25, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with open_checkpoint([tmp_path / "gemma.gguf"]) as checkpoint:
        network = OpenNetwork.of(checkpoint, config)
        assert network.wiring.family == "gemma"
        assert network.logical.read("model.norm.weight").unique().tolist() == [1.25]


def test_others_store_those_of_gemma_less_one(tmp_path: Path) -> None:
    name, gain = "model.norm.weight", random_input(8)
    found = read_all(tmp_path, {name: gain}, {"model_type": "gemma", "gains_less_one": False})
    assert found[name].allclose(1 + gain)

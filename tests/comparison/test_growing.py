"""Networks with fewer units, tokens or classes than another."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from peace_pipeline.comparison.verdict import compare
from peace_pipeline.lake import Lake
from tests.lakes import write_model

State = dict[str, torch.Tensor]
RELU = {"hidden_act": "relu"}


def mlp(classes: int = 10) -> State:
    generator = torch.Generator().manual_seed(0)
    shapes = {"fc1": (48, 24), "fc2": (40, 48), "fc3": (classes, 40)}
    state = {f"{name}.weight": torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    return state | {
        f"{name}.bias": torch.randn(shape[0], generator=generator) for name, shape in shapes.items()
    }


def without_units(state: State, keep: float, seed: int = 1) -> State:
    generator = torch.Generator().manual_seed(seed)
    cut = dict(state)
    for name, after in (("fc1", "fc2"), ("fc2", "fc3")):
        count = len(state[f"{name}.bias"])
        kept = torch.randperm(count, generator=generator)[: int(keep * count)].sort().values
        cut |= {f"{name}.weight": cut[f"{name}.weight"][kept], f"{name}.bias": cut[f"{name}.bias"][kept]}
        cut[f"{after}.weight"] = cut[f"{after}.weight"][:, kept]
    return cut


def test_units_that_were_taken_away(lake: Lake, tmp_path: Path) -> None:
    a, b = write_model(tmp_path / "a", mlp()), write_model(tmp_path / "b", without_units(mlp(), 0.75))
    for first, second in ((a, b), (b, a)):
        found = compare(lake, str(first), str(second))
        assert (found["verdict"], found["relation"]) == ("derived", "pruned")
        assert found["similarity"] > 0.99
        assert all("equal" in layer["evidence"] for layer in found["layers"])


def test_units_of_another_network_are_not_found(lake: Lake, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(3)
    other = {
        name: torch.randn(x.shape, generator=generator) for name, x in without_units(mlp(), 0.75).items()
    }
    a, b = write_model(tmp_path / "a", mlp(), RELU), write_model(tmp_path / "b", other, RELU)
    assert compare(lake, str(a), str(b))["verdict"] == "unrelated"


def test_classes_that_were_added(lake: Lake, tmp_path: Path) -> None:
    state = mlp()
    more = state | {
        "fc3.weight": torch.cat([state["fc3.weight"], torch.randn(3, 40)]),
        "fc3.bias": torch.cat([state["fc3.bias"], torch.randn(3)]),
    }
    found = compare(lake, str(write_model(tmp_path / "a", state)), str(write_model(tmp_path / "b", more)))
    assert (found["verdict"], found["relation"], found["similarity"]) == ("derived", "resized", 1.0)
    assert found["layers"][-1]["evidence"].startswith("10 × 40 of 13 × 40 in both")


HIDDEN, HEADS, INNER = 32, 4, 48
LLAMA = {
    "model_type": "llama", "hidden_size": HIDDEN, "num_attention_heads": HEADS, "num_key_value_heads": HEADS,
    "head_dim": HIDDEN // HEADS, "intermediate_size": INNER, "num_hidden_layers": 2, "vocab_size": 60,
    "hidden_act": "silu", "rms_norm_eps": 1e-6, "tie_word_embeddings": False,
}  # fmt: skip


def llama() -> State:
    generator = torch.Generator().manual_seed(0)
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens": (60, HIDDEN),
        "lm_head": (60, HIDDEN),
        "model.norm": (HIDDEN,),
    }
    for block in range(2):
        place = f"model.layers.{block}"
        shapes |= {f"{place}.self_attn.{name}_proj": (HIDDEN, HIDDEN) for name in "qkvo"}
        shapes |= {f"{place}.mlp.{name}_proj": (INNER, HIDDEN) for name in ("gate", "up")}
        shapes |= {f"{place}.{name}_layernorm": (HIDDEN,) for name in ("input", "post_attention")}
        shapes |= {f"{place}.mlp.down_proj": (HIDDEN, INNER)}
    return {f"{name}.weight": torch.randn(shape, generator=generator) for name, shape in shapes.items()}


QKV = ("q_proj", "k_proj", "v_proj")


@pytest.mark.parametrize(
    ("rows", "columns", "kept", "changes"),
    [
        (QKV, ("o_proj",), range(8, 32), {"num_attention_heads": 3, "num_key_value_heads": 3}),
        (
            ("o_proj", "down_proj", "norm"), (*QKV, "gate_proj", "up_proj", "embed_tokens", "lm_head"),
            range(0, 32, 2), {"hidden_size": 16},
        ),
        (("gate_proj", "up_proj"), ("down_proj",), range(0, 48, 2), {"intermediate_size": 24}),
    ],
)  # fmt: skip
def test_heads_streams_and_hidden_units_of_a_language_model(
    lake: Lake,
    tmp_path: Path,
    rows: tuple[str, ...],
    columns: tuple[str, ...],
    kept: range,
    changes: dict[str, int],
) -> None:
    index, cut = torch.tensor(kept), llama()
    for name, value in cut.items():
        module = name.removesuffix(".weight")
        if module.endswith(rows):
            cut[name] = value[index]
        elif module.endswith(columns):
            cut[name] = value[:, index]
    a = write_model(tmp_path / "a", llama(), LLAMA)
    b = write_model(tmp_path / "b", cut, LLAMA | changes)
    found = compare(lake, str(a), str(b))
    assert (found["verdict"], found["relation"]) == ("derived", "pruned")

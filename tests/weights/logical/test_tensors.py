"""A checkpoint's logical tensors: each value in one layer once, whatever the names, the config or the parts."""

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
from torch import nn

from peace_pipeline.symmetry.wiring.inference import infer_wiring
from peace_pipeline.weights.byte_budget import Sampled
from peace_pipeline.weights.checkpoint import Checkpoint, open_checkpoint
from peace_pipeline.weights.errors import UnreadableCheckpoint, UnsupportedFormat
from peace_pipeline.weights.formats.safetensors import SafetensorsFile
from peace_pipeline.weights.layers import layers_of
from peace_pipeline.weights.local_blob import local_blob
from peace_pipeline.weights.logical import logical, views_of
from peace_pipeline.weights.tensors import Part, TensorInfo
from peace_pipeline.zoo.trained import build
from peace_pipeline.zoo.trained.architectures import ARCHITECTURES
from tests.networks import folded_tensors, infos, infos_of
from tests.weights.logical.states import FLOAT8, kinds, random_input, random_state, read_all, written


def test_tied_embeddings_count_once(tmp_path: Path) -> None:
    table = random_input(9, 4)
    state = {
        "model.embed_tokens.weight": table, "lm_head.weight": table, "head.weight": table,
        "model.decoder.weight": random_input(4, 4),
    }  # fmt: skip
    for value in (True, False, None, "true", 1):
        found = read_all(tmp_path, state, {"tie_word_embeddings": value})
        assert found.keys() == state.keys() - {"lm_head.weight"}


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


@pytest.mark.parametrize(
    "config", [{}, {"model_type": "bert"}, {"tie_word_embeddings": False}, {"tie_word_embeddings": 1}]
)
def test_a_copy_is_one_whatever_the_config_says(config: dict[str, Any], tmp_path: Path) -> None:
    embedding = torch.ones(6, 4)
    state = {"shared.weight": embedding, "lm_head.weight": embedding.clone()}
    assert len(read_all(tmp_path, state, config)) == 1
    assert len(read_all(tmp_path, state | {"lm_head.weight": 2 * embedding}, config)) == 2


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

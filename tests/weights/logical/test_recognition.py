"""What names and shapes say where no config.json does."""

from __future__ import annotations

import pytest

from peace_pipeline.weights.logical import recognised, spelled
from peace_pipeline.weights.tensors import TensorInfo

Shape = tuple[int, ...]


def infos(shapes: dict[str, Shape]) -> list[TensorInfo]:
    return [TensorInfo(name, shape, "float32") for name, shape in shapes.items()]


def llama(width: int, keys: int | None = None, at: str = "model.", **more: Shape) -> list[TensorInfo]:
    layer = f"{at}layers.0"
    names = {"q": width, "k": keys or width, "v": keys or width}
    return infos(
        {
            f"{at}embed_tokens.weight": (60, width),
            f"{layer}.input_layernorm.weight": (width,),
            f"{layer}.post_attention_layernorm.weight": (width,),
            f"{layer}.mlp.gate_proj.weight": (2 * width, width),
            f"{layer}.mlp.down_proj.weight": (width, 2 * width),
        }
        | {f"{layer}.self_attn.{name}_proj.weight": (rows, width) for name, rows in names.items()}
        | more
    )


def test_a_config_that_names_its_network_stays() -> None:
    config = {"model_type": "opt", "num_attention_heads": 3}
    found = recognised(llama(256), config)
    assert (found.config, found.assumes) == (config, ())


def test_an_unknown_checkpoint_is_not_recognised() -> None:
    found = recognised(infos({"fc1.weight": (4, 3), "fc2.weight": (2, 4)}), {"hidden_act": "relu"})
    assert (found.config, found.assumes) == ({"hidden_act": "relu"}, ())


@pytest.mark.parametrize(
    ("width", "keys", "heads", "key_heads"),
    [(128, 128, 4, 4), (2048, 512, 32, 8), (4096, 1024, 32, 8), (24, 12, 4, 2)],
)
def test_heads_are_the_usual_ones_for_their_width(width: int, keys: int, heads: int, key_heads: int) -> None:
    found = recognised(llama(width, keys), {})
    assert found.config["model_type"] == "llama"
    assert (found.config["num_attention_heads"], found.config["num_key_value_heads"]) == (heads, key_heads)
    assert found.assumes == (
        "it is a llama, as its names and shapes say",
        f"its attention has {heads} heads of {width // heads}",
    )


def test_of_two_families_the_one_whose_names_say_more() -> None:
    norms = {f"model.layers.0.{at}_feedforward_layernorm.weight": (128,) for at in ("pre", "post")}
    assert recognised(llama(128, **norms), {}).config["model_type"] == "gemma2"
    biased = {"model.layers.0.self_attn.q_proj.bias": (128,)}
    normed = {"model.layers.0.self_attn.q_norm.weight": (32,)}
    assert recognised(llama(128, **biased), {}).config["model_type"] == "qwen2"
    assert recognised(llama(128, **normed), {}).config["model_type"] == "qwen3"
    many = {"model.embed_tokens.weight": (256_000, 128)}
    assert recognised(llama(128, **many), {}).config["model_type"] == "gemma"
    untied = many | {"lm_head.weight": (256_000, 128)}
    assert recognised(llama(128, **untied), {}).config["model_type"] == "llama"
    for kind, more in (("gemma", {}), ("llama", many), ("llama", biased), ("qwen2", biased)):
        said = recognised(llama(128, **more), {}, {"general.architecture": kind})
        assert said.config["model_type"] == kind
    other = recognised(llama(128, **many), {}, {"general.architecture": "nemotron"})
    assert other.config["model_type"] == "llama"
    both = {
        f"model.{part}.layers.0.{at}.q_proj.weight": (128, 128)
        for part, at in (("encoder", "self_attn"), ("decoder", "self_attn"), ("decoder", "encoder_attn"))
    }
    places = {f"model.{part}.embed_positions.weight": (20, 128) for part in ("encoder", "decoder")}
    embedded = {"model.encoder.layernorm_embedding.weight": (128,)}
    shared = {"model.shared.weight": (60, 128)}
    assert recognised(infos(shared | both), {}).config["model_type"] == "marian"
    assert recognised(infos(shared | both | places), {}).config["model_type"] == "marian"
    assert recognised(infos(shared | both | places | embedded), {}).config["model_type"] == "bart"


def test_heads_that_are_said_are_not_assumed() -> None:
    by_config = recognised(llama(128), {"num_attention_heads": 2})
    by_angles = recognised(llama(128, **{"model.layers.0.self_attn.rotary_emb.inv_freq": (32,)}), {})
    by_gguf = recognised(
        llama(128),
        {},
        {"general.architecture": "llama", "llama.attention.head_count": 2, "llama.rope.freq_base": 5e5},
    )
    for found in (by_config, by_angles, by_gguf):
        assert found.config["num_attention_heads"] == 2
        assert found.assumes == ("it is a llama, as its names and shapes say",)
    assert by_gguf.config["rope_theta"] == 5e5


def test_sizes_and_the_class_follow_from_names() -> None:
    whole, stack = recognised(llama(128), {}), recognised(llama(128, at=""), {})
    assert whole.config["architectures"] == ["LlamaForCausalLM"]
    assert "architectures" not in stack.config
    for found in (whole, stack):
        sizes = (
            found.config[key]
            for key in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers")
        )
        assert tuple(sizes) == (60, 128, 256, 1)


def test_the_names_of_other_libraries_become_those_of_the_tables() -> None:
    gguf = ["token_embd.weight", "blk.0.attn_norm.weight", "blk.0.attn_q.weight", "blk.0.ffn_gate.weight"]
    assert spelled([*gguf, "output_norm.weight"]) == [
        "model.embed_tokens.weight",
        "model.layers.0.input_layernorm.weight",
        "model.layers.0.self_attn.q_proj.weight",
        "model.layers.0.mlp.gate_proj.weight",
        "model.norm.weight",
    ]
    torchvision = ["class_token", "conv_proj.weight", "encoder.layers.encoder_layer_0.ln_1.weight"]
    assert spelled([*torchvision, "encoder.ln.bias", "heads.head.weight"]) == [
        "cls_token",
        "patch_embed.proj.weight",
        "blocks.0.norm1.weight",
        "norm.bias",
        "head.weight",
    ]


def test_names_stay_where_two_would_be_one() -> None:
    names = [
        "token_embd.weight",
        "blk.0.attn_norm.weight",
        "blk.0.ffn_gate.weight",
        "model.embed_tokens.weight",
    ]
    assert spelled(names) == names


def test_of_two_spellings_the_tables_counts() -> None:
    """openai's Whisper has no ``model.`` before its names; transformers' language model has."""
    attention = {
        f"encoder.blocks.0.attn.{name}.weight": (64, 64) for name in ("query", "key", "value", "out")
    }
    convolutions = {f"encoder.conv{number}.weight": (64, 64, 3) for number in (1, 2)}
    norms = {"encoder.ln_post.weight": (64,), "encoder.positional_embedding": (100, 64)}
    found = recognised(infos(attention | convolutions | norms), {})
    assert found.config["architectures"] == ["WhisperForConditionalGeneration"]
    assert (found.config["encoder_attention_heads"], found.config["max_source_positions"]) == (4, 100)

"""Networks of the installed transformers: run by its classes, and by nothing that comes with a model."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from peace_pipeline.encoder.checkpoints import embed_checkpoints
from peace_pipeline.lake import Lake
from peace_pipeline.responses.answers import NotRun, Response
from peace_pipeline.responses.probes import InputSpec, probes
from peace_pipeline.responses.runners.model import Model, Ready
from peace_pipeline.responses.running import Limits, ready, run
from peace_pipeline.weights.checkpoint import open_checkpoint, weight_files
from peace_pipeline.zoo.card import read_config
from tests.indexed import new_encoder
from tests.responses.runners.disguises import EXACT, assert_alike, disguised
from tests.responses.wordpieces import wordpiece

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "bert": ("BertConfig", "BertForSequenceClassification", {**SMALL, "vocab_size": 60, "num_labels": 3}),
    "gpt2": ("GPT2Config", "GPT2LMHeadModel", {"n_embd": 16, "n_layer": 2, "n_head": 2, "vocab_size": 50}),
    "llama": ("LlamaConfig", "LlamaForCausalLM", {**SMALL, "vocab_size": 50}),
    "vit": ("ViTConfig", "ViTForImageClassification", {**SMALL, "image_size": 16, "patch_size": 8}),
    "resnet": (
        "ResNetConfig",
        "ResNetForImageClassification",
        {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "num_labels": 4},
    ),
    "t5": (
        "T5Config",
        "T5ForConditionalGeneration",
        {"d_model": 16, "d_kv": 8, "num_heads": 2, "num_layers": 2, "d_ff": 24, "vocab_size": 40},
    ),
}

FLOAT32_INSIDE = ("llama", "t5", "vit")
"""Their norms or their attention are computed in float32, whatever their dtype."""


def write(folder: Path, name: str, **more: Any) -> Path:
    config_class, kind, options = MODELS[name]
    torch.manual_seed(0)
    config = getattr(transformers, config_class)(**options)
    getattr(transformers, kind)(config).save_pretrained(folder)
    said = json.loads((folder / "config.json").read_text()) | more
    (folder / "config.json").write_text(json.dumps(said))
    return folder


def asked(folder: Path, limits: Limits = Limits(seconds=None)) -> Response | NotRun:  # noqa: B008
    with open_checkpoint(weight_files(folder)) as checkpoint:
        opened = ready(Model("m", checkpoint, read_config(folder), folder), limits)
    if isinstance(opened, NotRun):
        return opened
    (found,) = run([opened], limits)
    return found


@pytest.mark.parametrize("name", MODELS)
def test_it_answers(name: str, tmp_path: Path) -> None:
    found = asked(write(tmp_path, name))
    assert isinstance(found, Response), found
    outputs = {"bert": 3, "gpt2": 50, "llama": 50, "vit": 2, "resnet": 4, "t5": 40}[name]
    assert found.outputs.shape == (512, outputs)
    assert found.outputs.std(0).min() > 0
    assert found.kind == ("numbers" if name in ("vit", "resnet") else "tokens")
    assert found.run_by == "transformers"
    assert found.gram is not None
    assert np.isclose(np.linalg.norm(found.gram), 1)


def test_it_answers_as_the_library_s_own_loading_does(tmp_path: Path) -> None:
    found = asked(write(tmp_path, "vit", id2label={"0": "cat", "1": "dog"}))
    module = transformers.ViTForImageClassification.from_pretrained(tmp_path)
    with torch.no_grad():
        expected = module(probes(InputSpec("numbers", (3, 16, 16)))).logits
    assert isinstance(found, Response)
    assert np.allclose(found.outputs, expected, atol=1e-5)
    assert found.labels == ("cat", "dog")


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("GPT2", {"n_embd": 16, "n_layer": 2, "n_head": 4, "vocab_size": 50, "n_positions": 40}),
        ("Qwen2", {
            **SMALL, "num_attention_heads": 4, "num_key_value_heads": 4, "vocab_size": 50, "tie_word_embeddings": False,
        }),
        ("Mixtral", {
            **SMALL, "num_attention_heads": 4, "num_key_value_heads": 4, "vocab_size": 50, "num_local_experts": 3,
            "tie_word_embeddings": False,
        }),
    ],
)  # fmt: skip
def test_without_a_config_it_answers_as_with_it(kind: str, options: dict[str, Any], tmp_path: Path) -> None:
    name = f"{kind}LMHeadModel" if kind == "GPT2" else f"{kind}ForCausalLM"
    torch.manual_seed(0)
    module = getattr(transformers, name)(getattr(transformers, f"{kind}Config")(**options))
    module.save_pretrained(tmp_path / "with")
    (tmp_path / "without").mkdir()
    state = load_file(tmp_path / "with" / "model.safetensors")
    matrices = (".c_attn.weight", ".c_proj.weight", ".c_fc.weight")
    turned = {name: x.mT.contiguous() if name.endswith(matrices) else x for name, x in state.items()}
    save_file(turned, tmp_path / "without" / "model.safetensors")
    own, other = asked(tmp_path / "with"), asked(tmp_path / "without")
    assert isinstance(own, Response)
    assert isinstance(other, Response)
    assert np.allclose(own.outputs, other.outputs, atol=1e-5)


def test_a_model_without_a_head_has_no_outputs_but_a_sketch(tmp_path: Path) -> None:
    torch.manual_seed(0)
    transformers.BertModel(transformers.BertConfig(**SMALL, vocab_size=60)).save_pretrained(tmp_path)
    found = asked(tmp_path)
    assert isinstance(found, Response)
    assert found.outputs.shape == (512, 0)
    assert found.gram is not None


def test_a_network_of_text_hears_sentences_in_its_own_tokens(tmp_path: Path) -> None:
    """The same network with another vocabulary answers the same to them, and not to ids."""
    one = tmp_path / "one"
    config = transformers.BertConfig(**SMALL, vocab_size=300, num_labels=3)
    transformers.BertForSequenceClassification(config).save_pretrained(one)
    tokenizer = json.loads(wordpiece().to_str())
    order = [0, 1, 2, 3, *range(299, 3, -1)]
    vocabulary = {word: order[place] for word, place in tokenizer["model"]["vocab"].items()}
    other = shutil.copytree(one, tmp_path / "other")
    state = load_file(other / "model.safetensors")
    table = "bert.embeddings.word_embeddings.weight"
    save_file(state | {table: state[table][order].contiguous()}, other / "model.safetensors")
    by_ids = [asked(each) for each in (one, other)]
    (one / "tokenizer.json").write_text(json.dumps(tokenizer))
    tokenizer["model"]["vocab"] = vocabulary
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    by_words = [asked(each) for each in (one, other)]
    for found, kind, alike in ((by_ids, "tokens", False), (by_words, "text", True)):
        a, b = found
        assert isinstance(a, Response)
        assert isinstance(b, Response)
        assert a.kind == b.kind == kind
        assert np.allclose(a.outputs, b.outputs, atol=1e-5) == alike


def test_code_beside_a_model_is_not_executed(tmp_path: Path) -> None:
    """A config may name code of its own: what comes with a model is never imported."""
    folder = write(
        tmp_path / "m",
        "bert",
        auto_map={"AutoModelForSequenceClassification": "evil.Evil", "AutoConfig": "evil.Evil"},
    )
    mark = tmp_path / "executed"
    (folder / "evil.py").write_text(f"open({str(mark)!r}, 'w')\nclass Evil: pass\n")
    assert isinstance(asked(folder), Response)
    assert not mark.exists()


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"architectures": ["NoSuchModel"]}, "no NoSuchModel"),
        ({"architectures": ["AutoModel"]}, "no AutoModel"),
        ({"architectures": ["GPT2LMHeadModel"]}, "not of model type bert"),
        ({"num_hidden_layers": 3}, "no bert.encoder.layer.2"),
        ({"num_hidden_layers": 10**8}, "larger network"),
        ({"hidden_size": 10**6}, "larger network"),
        ({"hidden_act": "__import__"}, "KeyError"),
    ],
)
def test_what_a_config_claims_wrongly_is_a_reason(said: dict[str, Any], reason: str, tmp_path: Path) -> None:
    found = asked(write(tmp_path, "bert", **said))
    assert isinstance(found, NotRun)
    assert reason in found.reason


def test_a_wrapped_and_quantised_copy_answers_nearly_alike(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "copy").mkdir()
    own = asked(write(tmp_path / "own", "bert"))
    said = {"quantization_config": {"quant_method": "fp8"}}
    folder = write(tmp_path / "copy", "bert", **said)
    state = {}
    for name, value in load_file(folder / "model.safetensors").items():
        state[f"_orig_mod.{name}"] = value
        if name.endswith("dense.weight"):
            scale = value.abs().amax(1, keepdim=True) / 127
            state[f"_orig_mod.{name}"] = (value / scale).round().to(torch.int8)
            state[f"_orig_mod.{name}_scale"] = scale
    save_file(state, folder / "model.safetensors")
    copy = asked(folder)
    assert isinstance(own, Response)
    assert isinstance(copy, Response)
    np.testing.assert_allclose(copy.outputs, own.outputs, atol=0.05 * float(np.abs(own.outputs).max()))


def test_weights_that_are_not_there_are_named(tmp_path: Path) -> None:
    write(tmp_path, "bert")
    state = load_file(tmp_path / "model.safetensors")
    state.pop("classifier.weight")
    save_file(state, tmp_path / "model.safetensors")
    found = asked(tmp_path)
    assert isinstance(found, NotRun)
    assert "classifier.weight" in found.reason


@pytest.mark.parametrize("name", MODELS)
def test_disguised_networks_answer_alike(name: str, tmp_path: Path) -> None:
    folder = write(tmp_path / "a", name)
    one, other = asked(folder), asked(disguised(folder, 0))
    assert isinstance(one, Response)
    assert isinstance(other, Response), other
    assert np.abs(one.outputs - other.outputs).max() <= 2e-5 * max(1, np.abs(one.outputs).max())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("name", MODELS)
@settings(max_examples=2)
@given(seed=st.integers(0, 2**31))
def test_no_symmetry_changes_an_answer(name: str, dtype: torch.dtype, seed: int, tmp_path: Path) -> None:
    folder = write(tmp_path / "m", name)
    torch.manual_seed(seed)
    state = {
        key: value.to(dtype) + 0.1 * torch.rand(value.shape, dtype=dtype)
        if value.is_floating_point()
        else value
        for key, value in load_file(folder / "model.safetensors").items()
    }
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    one, other = (answers_of(each, dtype) for each in (folder, disguised(folder, seed)))
    assert_alike(one, other, exact=1e-6 if name in FLOAT32_INSIDE else EXACT)


def answers_of(folder: Path, dtype: torch.dtype) -> torch.Tensor:
    """What the runner's module answers to a few probes, computed in a dtype throughout."""
    with open_checkpoint(weight_files(folder)) as checkpoint:
        opened = ready(Model("m", checkpoint, read_config(folder), folder), Limits())
    assert isinstance(opened, Ready), opened
    module = opened.network.to(dtype)
    module.load_state_dict(load_file(folder / "model.safetensors"), strict=False)
    inputs = probes(opened.spec, 0, 8)
    with torch.no_grad():
        found = opened.ask([module], inputs.to(dtype) if inputs.is_floating_point() else inputs).outputs
    assert found is not None
    return found[0]


def test_a_model_without_a_head_is_embedded_by_its_weights(lake: Lake, tmp_path: Path) -> None:
    new_encoder(lake)
    torch.manual_seed(0)
    transformers.BertModel(transformers.BertConfig(**SMALL, vocab_size=60)).save_pretrained(tmp_path)
    (found,) = embed_checkpoints(lake, [str(tmp_path)])
    assert found.error is None
    assert found.vector

"""Symmetries of language models, proven by running the real modules before and after."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

from peace_pipeline.symmetry.group.elements import ALL
from peace_pipeline.symmetry.testing import TOLERANCE, assert_invariant
from peace_pipeline.symmetry.wiring.symmetries import FREE, GAIN
from peace_pipeline.symmetry.wiring.types import Wiring
from peace_pipeline.weights.checkpoint import open_checkpoint
from peace_pipeline.weights.layers import layers_of
from peace_pipeline.weights.logical import logical
from peace_pipeline.zoo.card import read_config
from tests.specimens import FAMILIES, REPRESENTATIVES, Specimen
from tests.specimens.pretrained import (
    ALBERT,
    CLIP,
    DECODER,
    DISTILBERT,
    ENCODER,
    GROUPED,
    STATES,
    T5,
    T5_GATED,
    TOKENS,
    WHISPER,
    Inputs,
    TransformersSpecimen,
    captioned_images,
    images,
    padded_tokens,
    tokens,
    transcribed_sounds,
    translated_tokens,
    typed_tokens,
)
from tests.specimens.running import Saved, Shelf
from tests.specimens.specimen import Config
from tests.sweep import swept

Actions = dict[str, set[str]]
"""Role of groups (the last part of their names; ``norm`` for what norms give) → the actions on them."""

POST_NORM: Actions = {
    "stream": {"permute"},
    "heads": {"permute"},
    "keys": {"mix free"},
    "values": {"mix shift"},
    "hidden": {"permute"},
}
PRE_NORM = POST_NORM | {"norm": {"gain shift"}}
ROTARY: Actions = {
    "stream": {"permute sign orthogonal"},
    "norm": {"gain"},
    "heads": {"permute"},
    "keys": {"rotate"},
    "values": {"mix"},
    "hidden": {"permute scale sign"},
}
TIED = {"stream": {"permute sign"}}
UNBIASED: Actions = {
    "stream": {"permute sign"},
    "norm": {"gain"},
    "heads": {"permute"},
    "keys": {"mix"},
    "values": {"mix"},
    "hidden": {"permute scale"},
}
NORMED_KEYS: Actions = {"queries": {"normalised"}, "keys": {"normalised"}, "pairs": {"scale sign"}}


def without_stream(actions: Actions) -> Actions:
    """Where the stream is the output."""
    return {role: own for role, own in actions.items() if role != "stream"}


EXPECTED: dict[str, Actions] = {
    "bert": without_stream(POST_NORM),
    "bert_classifier": POST_NORM | {"hidden": {"permute", "permute sign"}},
    "bert_mlm": POST_NORM,
    "roberta_classifier": POST_NORM | {"hidden": {"permute", "permute sign"}},
    "roberta_mlm": POST_NORM,
    "distilbert_classifier": POST_NORM | {"hidden": {"permute", "permute scale"}},
    "distilbert_mlm": POST_NORM,
    "albert": without_stream(PRE_NORM) | {"embedding": {"permute"}},
    "albert_mlm": PRE_NORM | {"embedding": {"permute"}},
    "gpt2": PRE_NORM,
    "gpt_neox": PRE_NORM | {"keys": {"rotate"}, "norm": {"gain shift", "gain"}},
    "llama": ROTARY,
    "llama_tied": ROTARY | TIED,
    "mistral": ROTARY,
    "qwen2": ROTARY,
    "qwen3": ROTARY | NORMED_KEYS,
    "gemma": ROTARY | TIED,
    "t5": UNBIASED,
    "t5_gated": UNBIASED | {"hidden": {"permute scale sign"}},
    "t5_encoder": without_stream(UNBIASED),
    "whisper": PRE_NORM | {"keys": {"mix"}, "norm": {"gain shift", "gain"}},
    "clip": PRE_NORM | {"norm": {"gain shift", "gain"}},
}


@dataclass(frozen=True)
class UntiedT5(TransformersSpecimen):
    """A T5 with a head of its own, as version 1.1 has it; the library ties what it makes, but not what it loads."""

    def make(self) -> nn.Module:
        module = super().make()
        head = module.get_submodule("lm_head")
        head.weight = nn.Parameter(head.get_parameter("weight").detach().clone())
        return module


def sounds(generator: torch.Generator) -> Inputs:
    return {"input_features": transcribed_sounds(generator)["input_features"]}


def texts(generator: torch.Generator) -> Inputs:
    return {"input_ids": captioned_images(generator)["input_ids"]}


def ended_tokens(generator: torch.Generator) -> Inputs:
    """T5 classifies what its decoder has at the end of the text."""
    ids = tokens(generator)["input_ids"]
    ids[:, -1] = TOKENS["eos_token_id"]
    return {"input_ids": ids}


SPAN = ("start_logits", "end_logits")
PAIR = {"num_labels": 2}
LABELS = {"num_labels": 5}
UNTIED = {"tie_word_embeddings": False}
GPT2 = TOKENS | {
    "n_embd": 24,
    "n_head": 4,
    "n_layer": 2,
    "n_inner": 40,
    "n_positions": 18,
    "use_cache": False,
}
NEOX = DECODER | {"hidden_size": 32} | LABELS
GEMMA = GROUPED | {
    "head_dim": 8, "tie_word_embeddings": True, "sliding_window": 4,
    "layer_types": ["sliding_attention", "full_attention"],
}  # fmt: skip
INNER_GROUPS = {"inner_group_num": 2, "num_hidden_groups": 2, "num_hidden_layers": 4}
TEXTS: Config = CLIP["text_config"]
IMAGES: Config = CLIP["vision_config"]

HEADS: dict[str, Specimen] = {
    specimen.model + suffix: specimen
    for suffix, specimen in [
        ("", TransformersSpecimen(
            typed_tokens, "BertForPreTraining", ENCODER, ("prediction_logits", "seq_relationship_logits"))),
        ("", TransformersSpecimen(typed_tokens, "BertForNextSentencePrediction", ENCODER)),
        ("", TransformersSpecimen(typed_tokens, "BertForTokenClassification", ENCODER)),
        ("", TransformersSpecimen(typed_tokens, "BertForQuestionAnswering", ENCODER | PAIR, SPAN)),
        (" untied", TransformersSpecimen(typed_tokens, "BertForMaskedLM", ENCODER | UNTIED)),
        (" relu", TransformersSpecimen(typed_tokens, "BertForMaskedLM", ENCODER | {"hidden_act": "relu"})),
        ("", TransformersSpecimen(padded_tokens, "RobertaModel", ENCODER, (*STATES, "pooler_output"))),
        ("", TransformersSpecimen(padded_tokens, "RobertaForQuestionAnswering", ENCODER | PAIR, SPAN)),
        (" untied", TransformersSpecimen(padded_tokens, "RobertaForMaskedLM", ENCODER | UNTIED)),
        ("", TransformersSpecimen(padded_tokens, "XLMRobertaForMaskedLM", ENCODER)),
        ("", TransformersSpecimen(padded_tokens, "XLMRobertaForTokenClassification", ENCODER)),
        ("", TransformersSpecimen(padded_tokens, "CamembertForSequenceClassification", ENCODER)),
        ("", TransformersSpecimen(padded_tokens, "DistilBertModel", DISTILBERT, STATES)),
        ("", TransformersSpecimen(padded_tokens, "DistilBertForQuestionAnswering", DISTILBERT | PAIR, SPAN)),
        ("", TransformersSpecimen(padded_tokens, "DistilBertForTokenClassification", DISTILBERT)),
        ("", TransformersSpecimen(
            typed_tokens, "AlbertForPreTraining", ALBERT | INNER_GROUPS, ("prediction_logits", "sop_logits"))),
        ("", TransformersSpecimen(typed_tokens, "AlbertForSequenceClassification", ALBERT)),
        ("", TransformersSpecimen(typed_tokens, "AlbertForTokenClassification", ALBERT)),
        ("", TransformersSpecimen(typed_tokens, "AlbertForQuestionAnswering", ALBERT | PAIR, SPAN)),
        (" untied", TransformersSpecimen(typed_tokens, "AlbertForMaskedLM", ALBERT | UNTIED)),
        ("", TransformersSpecimen(tokens, "GPT2Model", GPT2, STATES)),
        ("", TransformersSpecimen(tokens, "GPT2ForSequenceClassification", GPT2 | LABELS)),
        ("", TransformersSpecimen(tokens, "GPT2ForTokenClassification", GPT2 | LABELS)),
        ("", TransformersSpecimen(tokens, "GPT2ForQuestionAnswering", GPT2, SPAN)),
        (" untied", TransformersSpecimen(tokens, "GPT2LMHeadModel", GPT2 | UNTIED)),
        ("", TransformersSpecimen(tokens, "GPTNeoXModel", NEOX, STATES)),
        (" serial", TransformersSpecimen(
            tokens, "GPTNeoXForCausalLM", NEOX | {"rotary_pct": 0.5, "use_parallel_residual": False})),
        (" odd", TransformersSpecimen(
            tokens, "GPTNeoXForCausalLM", NEOX | {"hidden_size": 40, "rotary_pct": 0.5})),
        ("", TransformersSpecimen(tokens, "GPTNeoXForSequenceClassification", NEOX)),
        ("", TransformersSpecimen(tokens, "GPTNeoXForTokenClassification", NEOX)),
        ("", TransformersSpecimen(tokens, "LlamaModel", GROUPED, STATES)),
        ("", TransformersSpecimen(tokens, "LlamaForSequenceClassification", GROUPED | LABELS)),
        ("", TransformersSpecimen(tokens, "LlamaForTokenClassification", GROUPED | LABELS)),
        ("", TransformersSpecimen(tokens, "LlamaForQuestionAnswering", GROUPED, SPAN)),
        (" biased", TransformersSpecimen(
            tokens, "LlamaForCausalLM", GROUPED | {"attention_bias": True, "mlp_bias": True})),
        (" of one key head", TransformersSpecimen(
            tokens, "LlamaForCausalLM", GROUPED | {"num_key_value_heads": 1, "attention_bias": True})),
        (" partly rotary", TransformersSpecimen(  # which the library takes no notice of
            tokens, "Qwen3ForCausalLM", GROUPED | {"head_dim": 8, "partial_rotary_factor": 0.5})),
        (" untied", TransformersSpecimen(tokens, "GemmaForCausalLM", GROUPED | {"head_dim": 8})),
        ("", TransformersSpecimen(tokens, "Gemma2ForCausalLM", GEMMA)),
        ("", TransformersSpecimen(tokens, "Gemma3ForCausalLM", GEMMA)),
        ("", TransformersSpecimen(translated_tokens, "T5Model", T5, STATES)),
        ("", TransformersSpecimen(ended_tokens, "T5ForSequenceClassification", T5 | LABELS)),
        ("", TransformersSpecimen(padded_tokens, "T5ForTokenClassification", T5 | LABELS)),
        ("", TransformersSpecimen(padded_tokens, "T5ForQuestionAnswering", T5, SPAN)),
        (" untied", UntiedT5(translated_tokens, "T5ForConditionalGeneration", T5_GATED)),
        ("", TransformersSpecimen(translated_tokens, "MT5ForConditionalGeneration", T5_GATED)),
        ("", TransformersSpecimen(translated_tokens, "UMT5ForConditionalGeneration", T5_GATED)),
        ("", TransformersSpecimen(
            transcribed_sounds, "WhisperModel", WHISPER, (*STATES, "encoder_last_hidden_state"))),
        ("", TransformersSpecimen(
            sounds, "WhisperForAudioClassification", WHISPER | LABELS | {"classifier_proj_size": 20})),
        (" untied", TransformersSpecimen(
            transcribed_sounds, "WhisperForConditionalGeneration", WHISPER | UNTIED)),
        ("", TransformersSpecimen(texts, "CLIPTextModel", TEXTS, (*STATES, "pooler_output"))),
        ("", TransformersSpecimen(texts, "CLIPTextModelWithProjection", TEXTS, ("text_embeds", *STATES))),
        ("", TransformersSpecimen(images(12), "CLIPVisionModel", IMAGES, (*STATES, "pooler_output"))),
        ("", TransformersSpecimen(images(12), "CLIPVisionModelWithProjection", IMAGES, ("image_embeds", *STATES))),
        ("", TransformersSpecimen(images(12), "CLIPForImageClassification", CLIP | LABELS)),
    ]
}  # fmt: skip
ODD_HEADS = [
    name
    for name in HEADS
    if " " in name
    or name.startswith(
        ("Gemma", "MT5", "UMT5", "CLIP", "Whisper", "AlbertForPre", "XLM", "Camembert", "T5ForSeq")
    )
]
"""Those with more than another layer behind what the family has: other ties, norms, parts."""
UNUSED = ("vision_model.post_layernorm.",)
"""Of CLIP's classifier, which reads the stream before its last norm."""


SWEPT = swept(EXPECTED, always=[name for name in REPRESENTATIVES if name in EXPECTED])


@pytest.mark.parametrize("name", EXPECTED)
def test_actions_of_a_family(name: str, shelf: Shelf) -> None:
    assert shelf[name].wiring.method == "family"
    assert actions_on(shelf[name].wiring) == EXPECTED[name]
    check_places(shelf[name])


@pytest.mark.parametrize("name", SWEPT)
def test_a_family_computes_the_same(name: str, shelf: Shelf, tmp_path: Path) -> None:
    saved = shelf[name]
    found = assert_invariant(saved.function(tmp_path / "acted"), saved.wiring, saved.tensors)
    assert found.keys() >= {"permutation", "heads", "mix", "all"}


@pytest.mark.parametrize("name", SWEPT)
def test_no_tensor_of_a_family_may_be_left_out(name: str, shelf: Shelf, tmp_path: Path) -> None:
    check_left_out(shelf[name], shelf[name].acted(shelf[name].element(ALL), tmp_path / "acted"))


@pytest.mark.parametrize("name", SWEPT)
def test_a_family_in_single_precision(name: str, tmp_path: Path) -> None:
    saved = Saved.build(FAMILIES[name], tmp_path / "original", torch.float32)
    acted = saved.acted(saved.element(ALL), tmp_path / "acted")
    assert saved.change(acted) <= TOLERANCE[torch.float32]


@pytest.mark.parametrize("name", swept(HEADS, always=ODD_HEADS))
def test_other_heads(name: str, tmp_path: Path) -> None:
    saved = Saved.build(HEADS[name], tmp_path / "original")
    assert saved.wiring.method == "family"
    check_places(saved)
    acted = saved.acted(saved.element(ALL), tmp_path / "acted")
    assert saved.change(acted) <= TOLERANCE[torch.float64]
    check_left_out(saved, acted)


@pytest.mark.parametrize(
    ("name", "on_stream"),
    [
        ("T5ForConditionalGeneration untied", {"permute sign orthogonal"}),
        ("GemmaForCausalLM untied", {"permute sign orthogonal"}),
        ("Gemma3ForCausalLM", {"permute sign"}),
        ("LlamaForTokenClassification", {"permute sign orthogonal"}),
        ("LlamaModel", None),
        ("T5Model", None),
        ("CLIPForImageClassification", {"permute"}),
    ],
)
def test_what_moves_a_stream(name: str, on_stream: set[str] | None, tmp_path: Path) -> None:
    wiring = Saved.build(HEADS[name], tmp_path / "original").wiring
    assert actions_on(wiring).get("stream") == on_stream


def test_a_classifier_of_an_unknown_class_is_not_guessed(tmp_path: Path) -> None:
    """It may read what the pooler gives or each position."""
    saved = Saved.build(FAMILIES["bert_classifier"], tmp_path / "original")
    config = saved.folder / "config.json"
    config.write_text(config.read_text().replace("BertForSequenceClassification", "BertForEntities"))
    assert saved.wiring.method == "independent"


def actions_on(wiring: Wiring) -> Actions:
    found: Actions = {}
    for group in wiring.groups.values():
        if group.actions:
            role = "norm" if GAIN in group.actions else group.name.rpartition(".")[2]
            found.setdefault(role, set()).add(" ".join(group.actions))
    return found


def check_places(saved: Saved) -> None:
    with open_checkpoint([saved.folder / "model.safetensors"]) as checkpoint:
        layers = layers_of(logical(checkpoint, read_config(saved.folder)).tensors.values())
    placed = {wired.before.name for wired in saved.wiring.layers if wired.before}
    placed |= {layer.name for wired in saved.wiring.layers for layer in wired.own}
    assert placed == {layer.name for layer in layers}


def check_left_out(saved: Saved, acted: Saved) -> None:
    """A changed tensor that keeps its old value is seen, but for biases of keys, which softmax doesn't see (in a
    fused tensor those of queries and values beside them are), and for what the network doesn't use."""
    free = {
        wired.layer.tensors["bias"]
        for wired in saved.wiring.layers
        if FREE in saved.wiring.groups[wired.out.group].actions and wired.out.charge > 0
    }
    unused = UNUSED if saved.specimen is HEADS["CLIPForImageClassification"] else ()
    changes = saved.left_out(acted)
    assert len(changes) > 10
    for name, change in changes.items():
        if name in free or name.startswith(unused):
            assert change <= TOLERANCE[torch.float64], name
        else:
            assert change >= 10 * TOLERANCE[torch.float64], name

"""Sentences in a network's own tokens: by a tokenizer.json that a stranger made, within bounds, or ids as without."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from peace_pipeline.responses.probes import InputSpec, probes
from peace_pipeline.responses.sentences import sentences
from peace_pipeline.responses.standard import PROBES, TEXT, TOKENS
from peace_pipeline.responses.tokenizing import in_words
from peace_pipeline.zoo.card import MAX_TOKENIZER_BYTES, TOKENIZER
from tests.responses.wordpieces import wordpiece

SPEC = InputSpec(TOKENS, (32,), vocabulary=300, padding=0, first=2)


def bytes_alone() -> Tokenizer:
    """A tokenizer of bytes, without tokens that mean something else."""
    letters = ["e", *sorted({*pre_tokenizers.ByteLevel.alphabet()} - {"e"})]
    alphabet = {letter: place for place, letter in enumerate(letters)}
    found = Tokenizer(models.BPE(alphabet, []))
    found.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return found


def test_a_network_is_told_the_sentences_in_its_tokens(tmp_path: Path) -> None:
    tokenizer = wordpiece()
    tokenizer.enable_padding(length=500)
    tokenizer.save(str(tmp_path / TOKENIZER))
    spec = in_words(SPEC, tmp_path)
    assert (spec.kind, spec.padding, spec.first) == (TEXT, 0, None)
    tokenizer.no_padding()
    tokenizer.enable_truncation(32)
    for ids, sentence in zip(probes(spec), sentences(), strict=True):
        expected = tokenizer.encode(sentence).ids
        assert ids[: len(expected)].tolist() == expected
        assert not ids[len(expected) :].any()
        assert (expected[0], expected[-1]) == (2, 3)


def test_padding_is_no_token_of_a_sentence(tmp_path: Path) -> None:
    tokenizer = bytes_alone()
    tokenizer.save(str(tmp_path / TOKENIZER))
    used = {token for sentence in sentences() for token in tokenizer.encode(sentence[:32]).ids}
    assert 0 in used
    spec = in_words(InputSpec(TOKENS, (32,), vocabulary=256), tmp_path)
    assert spec.kind == TEXT
    assert spec.padding not in used


@pytest.mark.parametrize(
    "spec", [InputSpec("numbers", (8,)), InputSpec(TOKENS, (32,), vocabulary=250, first=2)]
)
def test_a_tokenizer_of_something_else_is_not_used(spec: InputSpec, tmp_path: Path) -> None:
    wordpiece().save(str(tmp_path / TOKENIZER))
    assert in_words(spec, tmp_path) is spec


def test_a_tokenizer_that_does_not_tell_sentences_apart_is_not_used(tmp_path: Path) -> None:
    acids = {letter: place for place, letter in enumerate("?ACDEFGHIKLMNPQRSTVWY")}
    tokenizer = Tokenizer(models.WordLevel(acids, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / TOKENIZER))
    assert in_words(SPEC, tmp_path) is SPEC


def written(**parts: Any) -> bytes:
    """A tokenizer.json with other parts than it had."""
    return json.dumps(json.loads(wordpiece().to_str()) | parts).encode()


def replaced(pattern: dict[str, str], content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": content}


HOSTILE = {
    "nothing": b"",
    "no JSON": b"[" * 1_000_000,
    "no tokenizer": b'{"model": 7}',
    "a model of code": written(model={"type": "Python", "code": "import os"}),
    "an expression without an end": written(
        pre_tokenizer={
            "type": "Split",
            "pattern": {"Regex": "((\\w| )*)*$x"},
            "behavior": "Isolated",
            "invert": False,
        }
    ),
    "letters that become gigabytes": written(
        normalizer={
            "type": "Sequence",
            "normalizers": [replaced({"String": "e"}, "e" * 1000)] * 5,
        }
    ),
    "no room for a sentence": written(
        post_processor={
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}] * 100,
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
            "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]}},
        }
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_tokenizer_costs_little_and_changes_nothing(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / TOKENIZER).write_bytes(HOSTILE[name])
    started = time.process_time()
    assert in_words(SPEC, tmp_path) is SPEC
    assert time.process_time() - started < 5, "the other process does the work"
    assert capfd.readouterr().err == ""


def test_what_is_no_file_of_a_sensible_size_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / TOKENIZER
    assert in_words(SPEC, tmp_path) is SPEC
    os.mkfifo(path)
    assert in_words(SPEC, tmp_path) is SPEC
    path.unlink()
    with path.open("wb") as file:
        file.truncate(MAX_TOKENIZER_BYTES + 1)
    assert in_words(SPEC, tmp_path) is SPEC


def test_there_are_as_many_sentences_as_probes(tmp_path: Path) -> None:
    wordpiece().save(str(tmp_path / TOKENIZER))
    assert len(in_words(SPEC, tmp_path).sentences) == PROBES

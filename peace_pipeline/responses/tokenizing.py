"""Sentences in the tokens of a network, by the tokenizer.json beside it: data, and a stranger's."""

from __future__ import annotations

import json
import operator
import socket
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path

from peace_pipeline.confinement import Helper
from peace_pipeline.responses.probes import InputSpec
from peace_pipeline.responses.sentences import sentences
from peace_pipeline.responses.standard import PROBES, TEXT, TOKENS
from peace_pipeline.zoo.card import MAX_TOKENIZER_BYTES, TOKENIZER

PATIENCE = 120
"""Seconds to wait for an answer: many more than one may take to compute."""
LONGEST = 512
"""Tokens of a sentence, at most: none has so many."""
_TOLD_APART = PROBES // 2
_MAX_ANSWER = 1 << 24

_helper = Helper("peace_pipeline.responses.tokenizer_helper")

Sentences = tuple[tuple[int, ...], ...]


def in_words(spec: InputSpec, folder: Path) -> InputSpec:
    """A network that takes tokens, as one that takes the standard sentences; the same ``spec`` where it can't.

    It can't where the ``folder`` has no tokenizer.json that the installed tokenizers reads, within bounds of time and
    memory, where that has tokens beyond the vocabulary, and where it doesn't tell half of the sentences apart, as one
    of proteins doesn't.
    """
    if spec.kind != TOKENS or len(spec.shape) != 1:
        return spec
    found = tokenised(folder / TOKENIZER, sentences(), spec.shape[0])
    if found is None or len(set(found)) < _TOLD_APART:
        return spec
    used = {token for sentence in found for token in sentence}
    if max(used) >= spec.vocabulary or not all(found):
        return spec
    free = (token for token in range(spec.vocabulary) if token not in used)
    padding = spec.padding if spec.padding not in used else next(free, spec.padding)
    return replace(spec, kind=TEXT, padding=padding, first=None, sentences=found)


def tokenised(path: Path, texts: Sequence[str], length: int) -> Sentences | None:
    """The ids of texts by a tokenizer.json, at most ``length`` each and ``LONGEST``; ``None`` where they can't be had:
    there is none that the installed tokenizers reads, within bounds of time and memory."""
    if sys.platform != "linux" or find_spec("tokenizers") is None or not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            if not 0 < file.seek(0, 2) <= MAX_TOKENIZER_BYTES:
                return None
            return _asked(file.fileno(), texts, min(length, LONGEST))
    except (OSError, EOFError, ValueError, TypeError):  # it died of it, or answers something else
        return None


def _asked(file: int, texts: Sequence[str], length: int) -> Sentences | None:
    ours, theirs = socket.socketpair()
    with Connection(ours.detach()) as connection:
        with theirs:
            if not _helper.send(b"tokenise", [theirs.fileno(), file]):
                return None
        connection.send_bytes(json.dumps({"sentences": list(texts), "length": length}).encode())
        if not connection.poll(PATIENCE):
            return None
        found = json.loads(connection.recv_bytes(_MAX_ANSWER))
    return tuple(tuple(map(operator.index, sentence)) for sentence in found)

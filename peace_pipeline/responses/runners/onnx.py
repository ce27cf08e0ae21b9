"""ONNX graphs, run by onnxruntime (the extra ``onnx``) in a confined process: a graph is data, and a stranger's.

Graphs with one input of numbers are run, and those with ids of tokens. Sizes that a graph leaves open are small.
"""

from __future__ import annotations

import json
import math
import socket
import sys
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from peace_pipeline.confinement import MOST_DESCRIPTORS, Helper
from peace_pipeline.responses.probes import COLOURS, InputSpec, has_channels_last
from peace_pipeline.responses.runners.model import (
    MOST_INPUTS,
    CannotRun,
    Model,
    Ready,
    Seen,
    joined,
    labels_of,
)
from peace_pipeline.responses.runners.onnx_heads import read_by_heads
from peace_pipeline.responses.standard import NUMBERS, TOKENS
from peace_pipeline.responses.tokenizing import in_words
from peace_pipeline.weights.formats.onnx import OnnxFile
from peace_pipeline.weights.formats.onnx_model import Graph
from peace_pipeline.weights.local_blob import LocalBlob
from peace_pipeline.weights.tensors import dtype_name

PATIENCE = 600
"""Seconds to wait for an answer: many more than one may take to compute."""
MAX_ANSWER = 1 << 28
"""Bytes."""
_SIDE, _SOUND, _TEXT = 64, 8000, 32
"""Sizes of inputs that a graph leaves open: sides of images, samples, steps and tokens."""
_IDS, _MASK, _TYPES, _POSITIONS = "input_ids", "attention_mask", "token_type_ids", "position_ids"
_HIDDEN = "last_hidden_state"
_AT_ONCE = 24
"""Examples where a graph takes any number: other than lengths of sequences, so that one isn't taken for the other."""
_SMALLEST = float(np.finfo(np.float32).tiny)

_helper = Helper("peace_pipeline.responses.runners.onnx_helper")


@dataclass(frozen=True)
class _Value:
    """An input or output: numpy's name of its type (``None``: another), and its shape with ``None`` for open sizes."""

    name: str
    dtype: str | None
    shape: list[int | None]


@dataclass(frozen=True)
class _Taken:
    """What a graph takes: its inputs by name, how many examples at once (``None``: any), and whether channels are
    last."""

    spec: InputSpec
    inputs: dict[str, _Value]
    batch: int | None
    channels_last: bool = False


class _Session:
    """A graph in a process of its own, which ends with this object."""

    def __init__(self, file: OnnxFile, shown: Collection[str]) -> None:
        """``shown``: values within that are to be told, too; those that are, ``self.shown`` says."""
        external, files = _external(file)
        ours, theirs = socket.socketpair()
        with ExitStack() as stack, theirs:
            self._connection = Connection(ours.detach())
            blobs = [file.blob, *(stack.enter_context(file.beside(name)) for name in files)]
            handed = [blob.fileno() for blob in blobs if isinstance(blob, LocalBlob)]
            if not _helper.send(b"run", [theirs.fileno(), *handed]):
                raise CannotRun("the process that runs ONNX graphs can't be started")
        told = self._asked([json.dumps({"external": external, "shown": list(shown)}).encode()])
        self.inputs = [_Value(*each) for each in told["inputs"]]
        outputs = [_Value(*each) for each in told["outputs"]]
        self.outputs = [each for each in outputs if each.name in file.graph.outputs]
        self.shown = {each.name for each in outputs}.intersection(shown)

    def run(
        self, output: str, read: Collection[str], feeds: dict[str, np.ndarray], last: Sequence[int]
    ) -> list[np.ndarray]:
        """An output of the graph (inputs, …), and values that are shown and ``read`` (inputs, width); of sequences of
        tokens at the ``last`` ones.

        Raises:
            CannotRun: where onnxruntime can't, or its process died of it.
        """
        inputs = [[name, str(value.dtype), value.shape] for name, value in feeds.items()]
        request = {
            "inputs": inputs,
            "output": output,
            "read": list(read),
            "last": list(last),
        }
        shapes = self._asked(
            [json.dumps(request).encode(), *(np.ascontiguousarray(value).data for value in feeds.values())]
        )["shapes"]
        return [np.frombuffer(self._received(), np.float32).reshape(shape) for shape in shapes]

    def _asked(self, parts: Sequence[Any]) -> dict[str, Any]:
        try:
            for part in parts:
                self._connection.send_bytes(part)
        except OSError:
            self._failed()
        told = json.loads(self._received())
        if "error" in told:
            raise CannotRun(told["error"])
        return told

    def _received(self) -> bytes:
        try:
            if self._connection.poll(PATIENCE):
                return self._connection.recv_bytes(MAX_ANSWER)
        except (OSError, EOFError):
            pass
        return self._failed()

    def _failed(self) -> Any:
        raise CannotRun("onnxruntime failed on it, or took too much memory or time")


def takes(model: Model) -> bool:
    """See :class:`Runner`: a model of one ONNX file."""
    files = list(model.checkpoint.files.values())
    return len(files) == 1 and isinstance(files[0], OnnxFile)


def load(model: Model) -> Ready:
    """See :class:`Runner`.

    Raises:
        CannotRun: where onnxruntime is not installed or can't run it, or it takes or answers something else.
    """
    if find_spec("onnxruntime") is None:
        raise CannotRun("ONNX graphs are run by onnxruntime: pip install 'peace-pipeline[onnx]'")
    if sys.platform != "linux":
        raise CannotRun("ONNX graphs are run on Linux alone")
    (file,) = model.checkpoint.files.values()
    assert isinstance(file, OnnxFile)
    heads = read_by_heads(file.graph)
    session = _Session(file, set(heads.values()))
    taken = _taken(session.inputs, model.config, file.graph, model.folder)
    output = _output(session.outputs)
    read = session.shown.intersection([] if output == _HIDDEN else [heads.get(output)])
    probabilities = any(node.op == "Softmax" and output in node.outputs for node in file.graph.nodes)
    step = taken.batch or _AT_ONCE

    def ask(sessions: Sequence[_Session], inputs: Tensor) -> Seen:
        parts = [_part(sessions[0], taken, output, read, part) for part in inputs.split(step)]
        found, hidden = torch.cat([answer for answer, _ in parts], 1), joined([values for _, values in parts])
        if output == _HIDDEN:
            return Seen(None, found)
        return Seen(found.clamp_min(_SMALLEST).log() if probabilities else found, hidden)

    labels = labels_of(model.config)
    return Ready(model.key, "onnx", taken.spec, session, ask, labels, at_once=max(step, _AT_ONCE))


def _external(file: OnnxFile) -> tuple[list[Any], list[str]]:
    """Of tensors in other files [name, file, offset, dtype, shape], and the names of these files, which lie in the
    model's folder."""
    files: dict[str, int] = {}
    found = []
    for name, tensor in file.graph.tensors.items():
        if tensor.location is not None and tensor.type.dtype is not None:
            try:
                dtype = np.dtype(dtype_name(tensor.type.dtype)).name
            except TypeError as error:
                raise CannotRun(f"its tensors of {tensor.type.name} lie in another file") from error
            place = files.setdefault(tensor.location, len(files))
            found.append([name, place, tensor.spans[0][0], dtype, tensor.shape])
    if len(files) + 2 > MOST_DESCRIPTORS:
        raise CannotRun(f"its values lie in {len(files):,} files")
    return found, list(files)


def _taken(inputs: Sequence[_Value], config: dict[str, Any], graph: Graph, folder: Path) -> _Taken:
    named = {value.name: value for value in inputs}
    if _IDS in named:
        return _tokens(named, config, graph, folder)
    if len(inputs) != 1 or inputs[0].dtype not in ("float32", "float64", "float16"):
        raise CannotRun(
            f"takes {', '.join(f'{value.name} {value.shape}' for value in inputs[:8]) or 'nothing'}"
        )
    batch, *sizes = inputs[0].shape or [None]
    if not 1 <= len(sizes) <= 3:
        raise CannotRun(f"takes inputs of shape {inputs[0].shape}")
    channels_last = has_channels_last(sizes)
    if channels_last:
        sizes = [sizes[2], *sizes[:2]]
    steps = len(sizes) == 2 and sizes[0] is None and sizes[1] is not None
    spec = InputSpec(NUMBERS, _shape(sizes), channels_first=not steps)
    _check(spec, batch)
    return _Taken(spec, named, batch, channels_last)


def _shape(sizes: Sequence[int | None]) -> tuple[int, ...]:
    """The sizes of one example, with those that are open."""
    if len(sizes) == 1:
        return (sizes[0] or _SOUND,)
    if len(sizes) == 2:
        first, second = sizes
        return (first or _TEXT, second) if second else (first or 1, _SOUND if (first or 1) == 1 else _SIDE)
    channels, height, width = sizes
    return channels or COLOURS[1], height or width or _SIDE, width or height or _SIDE


def _tokens(named: dict[str, _Value], config: dict[str, Any], graph: Graph, folder: Path) -> _Taken:
    if others := sorted(named.keys() - {_IDS, _MASK, _TYPES, _POSITIONS}):
        raise CannotRun(f"takes {', '.join(others[:8])} beside {_IDS}")
    if any(value.dtype not in ("int64", "int32") for value in named.values()):
        raise CannotRun("takes tokens that are no integers")
    sizes = named[_IDS].shape
    if len(sizes) != 2:
        raise CannotRun(f"takes tokens of shape {sizes}")
    told = config.get("vocab_size")
    vocabulary = told if type(told) is int and told > 0 else _vocabulary(graph)
    first = next(
        (
            each
            for each in (_id(config, "cls", vocabulary), _id(config, "bos", vocabulary))
            if each is not None
        ),
        None,
    )
    padding = _id(config, "pad", vocabulary) or 0
    spec = InputSpec(TOKENS, (sizes[1] or _TEXT,), vocabulary=vocabulary, padding=padding, first=first)
    _check(spec, sizes[0])
    return _Taken(in_words(spec, folder), named, sizes[0])


def _id(config: dict[str, Any], name: str, vocabulary: int) -> int | None:
    value = config.get(f"{name}_token_id")
    return value if type(value) is int and 0 <= value < vocabulary else None


def _vocabulary(graph: Graph) -> int:
    """How many rows the table has from which the tokens' vectors are taken."""
    for node in graph.nodes:
        if node.op == "Gather" and node.inputs[1:2] == [_IDS] and node.inputs[0] in graph.tensors:
            return next(iter(graph.tensors[node.inputs[0]].shape), 0)
    raise CannotRun("takes tokens of a vocabulary that isn't known")


def _check(spec: InputSpec, batch: int | None) -> None:
    if math.prod(spec.shape) * (batch or 1) > MOST_INPUTS:
        raise CannotRun(f"takes inputs of shape {[batch, *spec.shape]}")


def _output(outputs: Sequence[_Value]) -> str:
    """Which output is the answer: the logits, else the first of numbers."""
    numbers = [each.name for each in outputs if each.dtype in ("float32", "float64", "float16")]
    if not numbers:
        raise CannotRun("answers no numbers")
    return "logits" if "logits" in numbers else numbers[0]


def _part(
    session: _Session, taken: _Taken, output: str, read: Collection[str], inputs: Tensor
) -> tuple[Tensor, Tensor | None]:
    """Answers (1, inputs, outputs) to as many inputs as the graph takes at once, or to some, and then some of them are
    given again; and what is ``read`` of them (1, inputs, width), where that can be had."""
    count = len(inputs)
    if taken.batch and count < taken.batch:
        inputs = inputs[torch.arange(taken.batch) % count]
    feeds, last = _feeds(taken, inputs.numpy())
    found, *others = (torch.from_numpy(each.copy()) for each in session.run(output, read, feeds, last))
    if found.dim() == 1:
        found = found[:, None]
    if found.dim() != 2 or len(found) != len(inputs):
        raise CannotRun(f"it answers with {list(found.shape)} to {len(inputs)} inputs")
    return found[None, :count], next((each[None, :count] for each in others if each.shape[1]), None)


def _feeds(taken: _Taken, inputs: np.ndarray) -> tuple[dict[str, np.ndarray], list[int]]:
    """The graph's inputs by name, and of token sequences the last places that are no padding."""
    last: list[int] = []
    if taken.spec.kind != NUMBERS:
        mask = (
            np.ones_like(inputs) if taken.spec.padding == taken.spec.first else inputs != taken.spec.padding
        )
        values = {
            _IDS: inputs,
            _MASK: mask,
            _TYPES: np.zeros_like(inputs),
            _POSITIONS: np.broadcast_to(np.arange(inputs.shape[1]), inputs.shape),
        }
        last = [int(count) - 1 for count in mask.sum(1)] if _MASK in taken.inputs else [-1] * len(inputs)
    else:
        (name,) = taken.inputs
        values = {name: np.moveaxis(inputs, 1, -1) if taken.channels_last else inputs}
    return {name: values[name].astype(value.dtype) for name, value in taken.inputs.items()}, last
